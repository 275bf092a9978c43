//! A state of a model, and what can happen next.

/// A value that a state consists of.
pub trait Value: Clone + std::fmt::Debug + Ord + std::hash::Hash + Send + Sync + 'static {}

impl<T: Clone + std::fmt::Debug + Ord + std::hash::Hash + Send + Sync + 'static> Value for T {}

/// One replica of the operator.
pub trait Replica: Value {
    /// It holds no knowledge and waits for nothing.
    fn idle() -> Self;

    /// Its writes are under way.
    fn waiting() -> Self;
}

/// A write in flight. Without a sender it is late: no caller waits for the answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message<Q, T = ()> {
    /// The replica that waits for the answer.
    pub sender: Option<u8>,
    /// What the API server is asked.
    pub request: Q,
    /// What its sender does once it is accepted.
    pub then: T,
}

/// How much may still go wrong, and how much users may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Budget {
    /// Replicas that die.
    pub crashes: u8,
    /// Answers that are lost.
    pub losses: u8,
    /// What users do.
    pub acts: u8,
    /// Rotations that users ask for besides.
    pub rotations: u8,
    /// How often etcd goes back to a snapshot.
    pub restores: u8,
    /// Writes that an admission policy refuses.
    pub refusals: u8,
}

/// Nothing goes wrong, no actor does anything.
pub const CALM: Budget =
    Budget { crashes: 0, losses: 0, acts: 0, rotations: 0, restores: 0, refusals: 0 };

/// A state: what is stored and must be remembered, the replicas, and what is under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State<W, R, Q, T = ()> {
    /// What is stored, and what the invariants need to know of the past.
    pub world: W,
    /// The operators.
    pub replicas: Vec<R>,
    /// The writes that have not arrived.
    pub in_flight: Vec<Message<Q, T>>,
    /// What may still happen.
    pub left: Budget,
}

/// Something that happens: a choice `C` of an operator that goes on, an act `A` of a user in one of
/// several ways, or what the kind has of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action<C, A, O> {
    /// A replica reads on, or decides.
    Step(usize, C),
    /// A write arrives.
    Deliver(usize),
    /// A late write never arrives.
    Drop(usize),
    /// An answer is lost: the write may still arrive, late, or never.
    Lose(usize),
    /// A replica dies, and another begins.
    Crash(usize),
    /// A user acts.
    User(A, u8),
    /// What only this kind knows.
    Own(O),
}

impl<W, R: Replica, Q: Value, T: Value + Default> State<W, R, Q, T> {
    /// Idle operators, and nothing under way.
    pub fn new(world: W, replicas: usize, left: Budget) -> Self {
        Self { world, replicas: vec![R::idle(); replicas], in_flight: Vec::new(), left }
    }

    /// Replicas are alike, and so are messages: only what they are tells them apart.
    pub fn order(&mut self) {
        self.in_flight.sort_unstable();
        if let [first, second] = self.replicas.as_slice() {
            let sent = |index| {
                let sent = self.in_flight.iter().filter(move |it| it.sender == Some(index));
                sent.map(|message| (&message.request, &message.then))
            };
            if first.cmp(second).then_with(|| sent(0).cmp(sent(1))).is_gt() {
                self.replicas.swap(0, 1);
                for message in &mut self.in_flight {
                    message.sender = message.sender.map(|sender| 1 - sender);
                }
                self.in_flight.sort_unstable();
            }
        }
    }

    /// A replica sends a write and waits for the answer.
    pub fn post(&mut self, index: usize, request: Q, then: T) {
        self.replicas[index] = R::waiting();
        self.in_flight.push(Message { sender: Some(index.try_into().unwrap()), request, then });
    }

    /// Takes a write from the network; its sender is idle once it waits for no other.
    pub fn arrived(&mut self, index: usize) -> Message<Q, T> {
        let message = self.in_flight.remove(index);
        let is_last = self.in_flight.iter().all(|other| other.sender != message.sender);
        if let Some(sender) = message.sender.filter(|_| is_last) {
            self.replicas[usize::from(sender)] = R::idle();
        }
        message
    }

    /// The sender waits no longer: its writes, which are returned, may still arrive, late, or never.
    pub fn give_up(&mut self, index: usize) -> Vec<Message<Q, T>> {
        self.replicas[index] = R::idle();
        let sent = self.in_flight.iter_mut().filter(|it| it.sender == index.try_into().ok());
        sent.map(|message| {
            let sent = message.clone();
            (message.sender, message.then) = (None, T::default());
            sent
        })
        .collect()
    }
}

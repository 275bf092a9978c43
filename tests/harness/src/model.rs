//! A model of an operator: every interleaving of its replicas, of crashes, lost and late messages and
//! users, over the decision function that ships. A kind of resource implements [`Kind`].

mod figures;
mod healing;
mod state;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::RwLock;

use stateright::Model;

pub use self::figures::{is_thorough, kill, prove, survive};
use self::healing::Healed;
pub use self::healing::{Round, fingerprint};
pub use self::state::{Action, Budget, CALM, Message, Replica, State, Value};
pub use stateright::Property;

/// What every setting has, for every kind.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// What it is printed under.
    pub name: &'static str,
    /// How many operators there are.
    pub replicas: usize,
    /// What may go wrong.
    pub budget: Budget,
    /// What must be reached somewhere: where it is not, the search proves nothing.
    pub reaches: &'static [&'static str],
}

/// A state of the model of a kind.
pub type StateOf<K> =
    State<<K as Kind>::World, <K as Kind>::Replica, <K as Kind>::Request, <K as Kind>::Then>;

/// What can happen in the model of a kind.
pub type ActionOf<K> = Action<<K as Kind>::Choice, <K as Kind>::Act, <K as Kind>::Own>;

/// Where actions of a kind come among those of all kinds, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before all.
    First,
    /// With that replica, which is idle.
    Idle(usize),
    /// With that write in flight.
    Message(usize),
    /// Before what users do.
    BeforeUsers,
    /// After all.
    Last,
}

/// What differs between the models of two kinds of resources.
pub trait Kind: Sized + Debug + Send + Sync + 'static {
    /// What figures are printed and kept under.
    const NAME: &'static str;
    /// What the names of its invariants begin with.
    const INVARIANTS: char;
    /// The invariant that faults leave nothing behind, by the name of the design.
    const HEALS: &'static str;
    /// More rounds than the longest way from anywhere to rest.
    const MOST_ROUNDS: usize;
    /// More of them in which time passes than it takes to get there.
    const MOST_WAITS: usize;

    /// What is searched.
    type Setting: Copy + Debug + Send + Sync + 'static;
    /// A wrong variant of the operator.
    type Wrong: Copy + Debug;
    /// What is stored, and what the invariants need to know of the past.
    type World: Value;
    /// One replica of the operator.
    type Replica: Replica;
    /// A write.
    type Request: Value;
    /// What the sender of a write does next.
    type Then: Value + Default;
    /// What can differ in a step of an operator.
    type Choice: Copy + Debug + Eq + Hash + Send + Sync + 'static;
    /// What users do.
    type Act: Copy + Debug + Eq + Hash + Send + Sync + 'static;
    /// What else can happen.
    type Own: Clone + Debug + Eq + Hash + Send + Sync + 'static;

    /// The operator, the right one or a wrong one.
    fn new(setting: &Self::Setting, wrong: Option<Self::Wrong>) -> Self;

    /// The part of a setting that every kind has.
    fn frame(setting: &Self::Setting) -> Frame;

    /// What there is in the beginning.
    fn world(&self) -> Self::World;

    /// In which ways a replica that does not wait can go on.
    fn choices(&self, replica: &Self::Replica) -> Vec<Self::Choice>;

    /// What users can do, and in which ways.
    fn acts(&self, state: &StateOf<Self>) -> Vec<(Self::Act, u8)>;

    /// What only this kind knows, and what can happen of it at that place.
    fn own_actions(&self, state: &StateOf<Self>, place: Place) -> Vec<Self::Own>;

    /// The next read of a replica, or its decision; nothing if it cannot go on.
    fn step(&self, state: &mut StateOf<Self>, index: usize, choice: Self::Choice) -> Option<()>;

    /// The API server does what it is asked, or refuses.
    fn apply(&self, state: &mut StateOf<Self>, request: &Self::Request);

    /// A write arrives; its sender goes on, or looks again.
    fn deliver(&self, state: &mut StateOf<Self>, index: usize) {
        let message = state.arrived(index);
        self.apply(state, &message.request);
    }

    /// The sender of a write waits no longer: the answer is lost, or it died.
    fn give_up(&self, state: &mut StateOf<Self>, index: usize, _is_crash: bool) {
        state.give_up(index);
    }

    /// A user acts.
    fn perform(&self, state: &mut StateOf<Self>, act: Self::Act, way: u8);

    /// What only this kind knows happens; nothing if it cannot.
    fn happen(&self, state: &mut StateOf<Self>, own: Self::Own) -> Option<()>;

    /// The one of all states that are the same.
    fn canonical(&self, state: StateOf<Self>) -> StateOf<Self>;

    /// What came of an action, in its canonical form; nothing if it leads nowhere.
    fn settle(
        &self,
        _last: &StateOf<Self>,
        _action: &ActionOf<Self>,
        state: StateOf<Self>,
    ) -> Option<StateOf<Self>> {
        Some(self.canonical(state))
    }

    /// Whether the search goes on from here.
    fn is_within(&self, _state: &StateOf<Self>) -> bool {
        true
    }

    /// What must hold in every state, but for healing, and what must be reached in some.
    fn properties() -> Vec<Property<Search<Self>>>;

    /// What decides whether a cluster heals.
    fn stored(world: &Self::World) -> impl Hash;

    /// The same world without its past.
    fn forget(&self, world: Self::World) -> Self::World;

    /// One look of an operator without faults, and what it writes.
    fn recover(&self, state: &mut StateOf<Self>) -> Round;
}

/// The search through the states of one setting.
#[derive(Debug)]
pub struct Search<K: Kind> {
    /// What is searched.
    pub kind: K,
    frame: Frame,
    healed: Healed,
}

impl<K: Kind> Search<K> {
    /// The search of that setting, with the right operator or with a wrong one.
    pub fn new(setting: &K::Setting, wrong: Option<K::Wrong>) -> Self {
        let healed = Healed::default();
        Self { kind: K::new(setting, wrong), frame: K::frame(setting), healed }
    }
}

impl<K: Kind> Model for Search<K> {
    type State = StateOf<K>;
    type Action = ActionOf<K>;

    fn init_states(&self) -> Vec<Self::State> {
        let Frame { replicas, budget, .. } = self.frame;
        vec![State::new(self.kind.world(), replicas, budget)]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>) {
        let own = |place| self.kind.own_actions(state, place).into_iter().map(Action::Own);
        actions.extend(own(Place::First));
        for (index, replica) in state.replicas.iter().enumerate() {
            if *replica == K::Replica::waiting() {
                actions.extend((state.left.losses > 0).then_some(Action::Lose(index)));
            } else {
                let choices = self.kind.choices(replica).into_iter();
                actions.extend(choices.map(|choice| Action::Step(index, choice)));
            }
            if *replica == K::Replica::idle() {
                actions.extend(own(Place::Idle(index)));
            } else if state.left.crashes > 0 {
                actions.push(Action::Crash(index));
            }
        }
        for (index, message) in state.in_flight.iter().enumerate() {
            actions.push(Action::Deliver(index));
            actions.extend(message.sender.is_none().then_some(Action::Drop(index)));
            actions.extend(own(Place::Message(index)));
        }
        actions.extend(own(Place::BeforeUsers));
        if state.left.acts > 0 {
            let acts = self.kind.acts(state).into_iter();
            actions.extend(acts.map(|(act, way)| Action::User(act, way)));
        }
        actions.extend(own(Place::Last));
    }

    fn next_state(&self, last: &Self::State, action: Self::Action) -> Option<Self::State> {
        let kind = &self.kind;
        let mut state = last.clone();
        match action.clone() {
            Action::Step(index, choice) => kind.step(&mut state, index, choice)?,
            Action::Deliver(index) => kind.deliver(&mut state, index),
            Action::Drop(index) => drop(state.in_flight.remove(index)),
            Action::Lose(index) => {
                state.left.losses -= 1;
                kind.give_up(&mut state, index, false);
            }
            Action::Crash(index) => {
                state.left.crashes -= 1;
                kind.give_up(&mut state, index, true);
            }
            Action::User(act, way) => {
                state.left.acts -= 1;
                kind.perform(&mut state, act, way);
            }
            Action::Own(own) => kind.happen(&mut state, own)?,
        }
        kind.settle(last, &action, state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let heals = |search: &Self, state: &StateOf<K>| search.healed.check(&search.kind, state);
        let mut properties = K::properties();
        properties.push(Property::always(K::HEALS, heals));
        properties
    }

    fn within_boundary(&self, state: &Self::State) -> bool {
        self.kind.is_within(state)
    }
}

/// What a function once answered it answers again.
#[derive(Debug)]
pub struct Memory<Q, A>(RwLock<BTreeMap<Q, A>>);

impl<Q, A> Default for Memory<Q, A> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<Q: Ord + Clone, A: Clone> Memory<Q, A> {
    /// What it answered to that question, or answers now.
    pub fn get(&self, question: &Q, answer: impl FnOnce() -> A) -> A {
        if let Some(known) = self.0.read().unwrap().get(question) {
            return known.clone();
        }
        let answer = answer();
        self.0.write().unwrap().insert(question.clone(), answer.clone());
        answer
    }
}

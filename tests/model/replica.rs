//! One replica of the operator: how it looks, decides through the production code, and writes.

use harness::model::{Memory, Replica as _};

use crate::adapter::{Adapter, Look, Outcome, Seen};
use crate::cluster::{ANY, FOREIGN, Record, Request, Server, User, Version, Why};
use crate::protocol::Setting;
use crate::state::{Doing, Early, Message, Replica, State, Then};
use crate::wrong::Wrong;

/// How the client id of a user comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientIds {
    /// From the uid: every user has a record of its own.
    Derived,
    /// By choice: users that follow each other claim the same record.
    Chosen,
}

/// The operator under test: the production decision, or a wrong variant of it.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) setting: Setting,
    adapter: Adapter,
    wrong: Option<Wrong>,
    known: Memory<Look, Outcome>,
}

impl Operator {
    pub(crate) fn new(setting: Setting, wrong: Option<Wrong>) -> Self {
        let adapter = Adapter::new(setting.is_scheduled);
        Self { setting, adapter, wrong, known: Memory::default() }
    }

    pub(crate) fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    /// Where the record of that user is kept.
    pub(crate) fn slot(&self, uid: u8) -> usize {
        match self.setting.client_ids {
            ClientIds::Derived => usize::from(uid),
            ClientIds::Chosen => 0,
        }
    }

    /// All three objects at once.
    pub(crate) fn look(&self, server: &Server, user: User) -> Look {
        Look { user, record: self.read_record(server, user), secret: server.cluster.secret }
    }

    pub(crate) fn decide(&self, look: &Look) -> Outcome {
        self.known.get(look, || {
            let observed = self.adapter.observed(look);
            let step = Wrong::decide(self.wrong, &observed, Adapter::now());
            Adapter::outcome(&step, look)
        })
    }

    /// Whether another write may be under way.
    pub(crate) fn has_room(&self, state: &State) -> bool {
        state.in_flight.len() < self.setting.in_flight
    }

    /// The next read of that replica, or its decision; whether anything happened.
    pub(crate) fn go_on(&self, state: &mut State, index: usize) -> bool {
        let server = &state.world.server;
        let replica = &mut state.replicas[index];
        match (replica.doing, replica.user) {
            (Doing::Idle, _) => {
                if server.cluster.user.is_none() {
                    return false;
                }
                replica.user = server.cluster.user;
                replica.doing = Doing::ReadUser;
                true
            }
            (Doing::ReadUser, Some(user)) => {
                if self.is(Wrong::ReadSecretBeforeRecord) {
                    replica.secret = Early::Read(server.cluster.secret);
                } else {
                    replica.record = Some(self.read_record(server, user));
                }
                replica.doing = Doing::ReadTwo;
                true
            }
            (Doing::ReadTwo, Some(user)) if self.has_left(server, replica) => {
                replica.record.get_or_insert_with(|| self.read_record(server, user));
                replica.secret = Early::Read(server.cluster.secret);
                replica.doing = Doing::ReadLeft;
                true
            }
            (Doing::ReadLeft, Some(user)) if !server.lives(user.uid) => {
                *replica = Replica::idle();
                true
            }
            (Doing::ReadTwo | Doing::ReadLeft, Some(user)) => {
                let replica = replica.clone();
                let look = Look {
                    user,
                    record: replica.record.unwrap_or_else(|| self.read_record(server, user)),
                    secret: match replica.secret {
                        Early::Unread => server.cluster.secret,
                        Early::Read(secret) => secret,
                    },
                };
                let outcome = self.decide(&look);
                if matches!(outcome, Outcome::Rest(_)) {
                    state.replicas[index] = Replica::idle();
                    return true;
                }
                if !self.has_room(state) {
                    return false;
                }
                self.send(state, index, user, &outcome);
                true
            }
            (Doing::FoundNoUser, _) => self.sweep_blindly(state, index),
            (Doing::ReadUser | Doing::ReadTwo | Doing::ReadLeft | Doing::Waiting, _) => false,
        }
    }

    /// Sends what was decided.
    pub(crate) fn send(&self, state: &mut State, index: usize, user: User, outcome: &Outcome) {
        let owner = user.uid;
        let slot = u8::try_from(self.slot(owner)).unwrap();
        let request = match outcome {
            // No Secret of the model is immutable.
            Outcome::Rest(_) | Outcome::ClearImmutable => return,
            Outcome::CreateRecord => Request::CreateRecord { slot, owner },
            Outcome::DeleteRecord(version) => Request::DeleteRecord { slot, version: *version },
            Outcome::CreatePlaceholder => Request::CreateSecret { owner, id: ANY, serial: 0 },
            Outcome::Put(record, why) => self.put(slot, record.clone(), *why),
            Outcome::Fence(version) => Request::Fence { version: *version, owner },
            Outcome::Refresh(version) => Request::Refresh { version: *version, owner },
            Outcome::Withdraw(version, id) => Request::Withdraw {
                version: if self.is(Wrong::WithdrawAnyVersion) { ANY } else { *version },
                owner,
                id: *id,
            },
            Outcome::Collect(version) => {
                let is_any = self.is(Wrong::CollectAnyVersion);
                Request::Collect { version: if is_any { ANY } else { *version } }
            }
            Outcome::Issue { record, placeholder } => {
                return self.issue(state, index, record, *placeholder);
            }
        };
        state.post(index, request, Then::Nothing);
    }

    /// Draws a client secret and starts the chain: register, reveal, promote.
    fn issue(&self, state: &mut State, index: usize, record: &Record, placeholder: Version) {
        state.world.server.last_id += 1;
        let id = state.world.server.last_id;
        let owner = record.owner;
        let slot = u8::try_from(self.slot(owner)).unwrap();
        let record = self.adapter.registered(record, id, placeholder);
        let serial = record.serial;
        let register = self.put(slot, record, Why::Register);
        let version = if self.is(Wrong::RevealAtAnyVersion) { ANY } else { placeholder };
        let reveal = Request::Reveal { version, owner, id, serial };
        let is_creation = placeholder == ANY;
        if self.is(Wrong::RevealBeforeRegister) {
            let create = Request::CreateSecret { owner, id, serial };
            let reveal = if is_creation { create } else { reveal };
            return state.post(index, reveal, Then::Send(register));
        }
        let reveal = Then::Reveal { placeholder: version, id };
        state.post(index, register, if is_creation { Then::Create { id } } else { reveal });
    }

    fn put(&self, slot: u8, mut record: Record, why: Why) -> Request {
        if self.is(Wrong::PutRecordAnyVersion) {
            record.version = ANY;
        }
        Request::PutRecord { slot, record, why }
    }

    /// The API server answers one message; its sender goes on, or looks again.
    pub(crate) fn arrive(&self, state: &mut State, index: usize) {
        let message = state.in_flight.remove(index);
        let answer = state.world.server.answer(&message.request);
        let Some(sender) = message.sender.map(usize::from) else {
            return;
        };
        let is_ignored = match message.then {
            Then::Reveal { .. } | Then::Create { .. } => self.is(Wrong::RevealUnregistered),
            Then::Promote { .. } => self.is(Wrong::PromoteUnrevealed),
            Then::Nothing | Then::Send(_) => false,
        };
        if answer.is_some() || is_ignored {
            self.follow(state, sender, message, answer);
        } else {
            state.replicas[sender] = Replica::idle();
        }
    }

    /// The API server says that it did not carry out a reveal: its sender takes the verifier back.
    pub(crate) fn refuse(&self, state: &mut State, index: usize) {
        let message = state.in_flight.remove(index);
        let Some(sender) = message.sender.map(usize::from) else { return };
        self.take_back(state, sender, &message.then);
    }

    fn take_back(&self, state: &mut State, sender: usize, then: &Then) {
        let Then::Promote { slot, record, id } = then else { return };
        let mut less = self.adapter.taken_back(record, *id);
        if self.is(Wrong::TakenBackAtAnyVersion) {
            less.version = ANY;
        }
        let put = self.put(*slot, less, Why::Tidy);
        state.post(sender, put, Then::Nothing);
    }

    /// The answer is lost: the request stays on its way, and its sender looks again.
    pub(crate) fn lose(&self, state: &mut State, sender: usize, is_crash: bool) {
        let Some(message) = state.give_up(sender).pop() else { return };
        if self.is(Wrong::TakenBackUnanswered) && !is_crash {
            return self.take_back(state, sender, &message.then);
        }
        if self.is(Wrong::LostIsSuccess) && !is_crash {
            self.follow(state, sender, message, None);
        }
    }

    /// `version` is what the answer said, if there was one.
    fn follow(&self, state: &mut State, sender: usize, message: Message, version: Option<Version>) {
        state.replicas[sender] = Replica::idle();
        match (message.then, message.request) {
            (
                next @ (Then::Reveal { .. } | Then::Create { .. }),
                Request::PutRecord { slot, record, .. },
            ) => {
                let Record { owner, serial, .. } = record;
                let (reveal, id) = match next {
                    Then::Reveal { placeholder: version, id } => {
                        (Request::Reveal { version, owner, id, serial }, id)
                    }
                    Then::Create { id } => (Request::CreateSecret { owner, id, serial }, id),
                    _ => return,
                };
                let version = version.unwrap_or(record.version);
                let record = Record { version, ..record };
                let then = if self.is(Wrong::PromoteAtNextLook) {
                    Then::Nothing
                } else {
                    Then::Promote { slot, record, id }
                };
                state.post(sender, reveal, then);
            }
            (Then::Promote { slot, record, id }, _) => {
                let promoted = self.adapter.promoted(self.wrong, &record, id);
                let put = self.put(slot, promoted, Why::Promote);
                state.post(sender, put, Then::Nothing);
            }
            (Then::Send(request), _) => state.post(sender, request, Then::Nothing),
            (Then::Nothing | Then::Reveal { .. } | Then::Create { .. }, _) => {}
        }
    }

    /// Deletes a record after a live read showed that its user is gone.
    pub(crate) fn sweep(&self, state: &mut State, index: usize, slot: usize) {
        let Some(record) = &state.world.server.cluster.records[slot] else {
            return;
        };
        let version = if self.is(Wrong::SweepAnyVersion) { ANY } else { record.version };
        let slot = u8::try_from(slot).unwrap();
        let request = Request::DeleteRecord { slot, version };
        state.post(index, request, Then::Nothing);
    }

    /// Deletes the record that is there now, for a user that was not there before.
    fn sweep_blindly(&self, state: &mut State, index: usize) -> bool {
        let Some(slot) = state.world.server.cluster.records.iter().position(Option::is_some) else {
            state.replicas[index] = Replica::idle();
            return true;
        };
        if !self.has_room(state) {
            return false;
        }
        self.sweep(state, index, slot);
        true
    }

    /// Whether the Secret that is read next has an owner of another uid than the user.
    fn has_left(&self, server: &Server, replica: &Replica) -> bool {
        let secret = server.cluster.secret.filter(|secret| secret.owner != FOREIGN);
        replica.secret == Early::Unread
            && secret.is_some_and(|it| replica.user.is_some_and(|user| user.uid != it.owner))
            && !self.is(Wrong::LeftIsTakenForSure)
    }

    fn read_record(&self, server: &Server, user: User) -> Seen {
        match &server.cluster.records[self.slot(user.uid)] {
            None => Seen::Free,
            Some(record) if record.owner == user.uid => Seen::Held(record.clone()),
            Some(record) => Seen::Taken {
                version: record.version,
                owner: record.owner,
                lives: server.lives(record.owner) && !self.is(Wrong::HolderKnownByName),
            },
        }
    }
}

//! The model: who may act when, and what must hold in every state.

use stateright::{Model, Property};

use crate::acts::{Act, foreign_secret, is_possible, name, other};
use crate::cluster::{FOREIGN, Life, Mode, Server, USERS, bit};
use crate::healing::{self, Healed};
use crate::replica::{ClientIds, Operator};
use crate::state::{Budget, Doing, Replica, State, Then};
use crate::wrong::Wrong;

/// What holds in every state, by the names of the design.
pub(crate) mod property {
    /// A client secret that the user can read works.
    pub(crate) const VISIBLE: &str = "I1 visible is accepted";
    /// One verifier without an end, and at most one that was just revealed.
    pub(crate) const ENDLESS: &str = "I2 one without an end";
    /// No Secret of anybody else is written.
    pub(crate) const FOREIGN_WRITE: &str = "I3 nothing foreign written";
    /// What was revealed works until its end, but for revocation.
    pub(crate) const EARLY: &str = "I4 nothing ends early";
    /// Once faults stop, one operator reaches the goal and rests.
    pub(crate) const HEALS: &str = "I5 heals";
    /// One client secret is revealed for each serial.
    pub(crate) const SERIAL: &str = "I6 one for each serial";
    /// No record accepts what was revoked.
    pub(crate) const REVOKED: &str = "I7 revoked stays refused";
    /// A one-time Secret goes only with the client secret that is old.
    pub(crate) const UNREAD: &str = "I8 nothing unread withdrawn";
}

/// What is searched.
#[expect(clippy::struct_excessive_bools, reason = "a setting is a list of switches")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) mode: Mode,
    pub(crate) client_ids: ClientIds,
    pub(crate) replicas: usize,
    pub(crate) in_flight: usize,
    pub(crate) budget: Budget,
    pub(crate) acts: &'static [Act],
    /// Whether a rotation is asked for only once the former is over, or at any time.
    pub(crate) rotates_at_rest: bool,
    /// How many client secrets may be known at once: a bound, since two operators without a lease
    /// could refuse each other for ever.
    pub(crate) most_ids: u8,
    /// Whether client secrets grow old: a period ends, a one-time delivery is over.
    pub(crate) ages: bool,
    /// What must be reached somewhere.
    pub(crate) reaches: &'static [&'static str],
    /// Whether rotation is scheduled.
    pub(crate) is_scheduled: bool,
    /// Whether a foreign Secret of the wanted name is there from the start.
    pub(crate) starts_foreign: bool,
    /// Whether a creation arrives before its verifier ends, if ever, and is then noticed in time. The
    /// API server ends a request after a minute, so only wrong variants go without it.
    pub(crate) bounds_creations: bool,
    /// Whether nobody does anything for which a second secret of one serial were right.
    pub(crate) one_per_serial: bool,
}

#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) setting: Setting,
    pub(crate) operator: Operator,
    healed: Healed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Step(usize),
    Sweep(usize, usize),
    LookForUser(usize),
    Deliver(usize),
    Drop(usize),
    /// An admission policy refuses a reveal, whatever it would have come to.
    Refuse(usize),
    Lose(usize),
    Crash(usize),
    CollectGarbage,
    User(&'static str, usize),
    CreateUser,
    RequestRotation,
    End,
    Age,
    Snapshot,
    Restore,
}

impl Search {
    pub(crate) fn new(setting: Setting, wrong: Option<Wrong>) -> Self {
        Self {
            setting,
            operator: Operator::new(setting.client_ids, setting.is_scheduled, wrong),
            healed: Healed::default(),
        }
    }

    fn replica_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, replica) in state.replicas.iter().enumerate() {
            if replica.doing == Doing::Waiting {
                actions.extend((state.left.losses > 0).then_some(Action::Lose(index)));
            } else {
                actions.push(Action::Step(index));
            }
            if replica.doing == Doing::Idle {
                let orphan = state.server.orphan();
                actions.extend(orphan.map(|slot| Action::Sweep(index, slot)));
                let is_blind = self.operator.is(Wrong::SweepReadsUserFirst);
                let is_gone = state.server.cluster.user.is_none();
                actions.extend((is_blind && is_gone).then_some(Action::LookForUser(index)));
            } else if state.left.crashes > 0 {
                actions.push(Action::Crash(index));
            }
        }
        for (index, message) in state.in_flight.iter().enumerate() {
            actions.push(Action::Deliver(index));
            actions.extend(message.sender.is_none().then_some(Action::Drop(index)));
            let is_reveal = matches!(message.then, Then::Promote { .. });
            let is_refused = is_reveal && state.left.refusals > 0;
            actions.extend(is_refused.then_some(Action::Refuse(index)));
        }
    }

    fn user_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let cluster = &state.server.cluster;
        if state.left.acts > 0 {
            for (index, act) in self.setting.acts.iter().enumerate() {
                if is_possible(*act, &state.server) {
                    actions.push(Action::User(name(*act), index));
                }
            }
        }
        if cluster.user.is_none() && usize::from(state.next_uid) < USERS {
            actions.push(Action::CreateUser);
        }
        let may_rotate = !self.setting.rotates_at_rest || is_at_rest(&state.server);
        if state.left.rotations > 0 && cluster.user.is_some() && may_rotate {
            actions.push(Action::RequestRotation);
        }
    }

    fn time_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let entries = state.server.cluster.records.iter().flatten();
        let mut has_end = false;
        for entry in entries.flat_map(|record| &record.entries) {
            has_end |= entry.life == Life::Old;
            let grows_old = self.setting.ages && entry.life == Life::Current && !entry.is_aged;
            if grows_old && !actions.contains(&Action::Age) {
                actions.push(Action::Age);
            }
        }
        if has_end && !(self.setting.bounds_creations && state.awaits_creation()) {
            actions.push(Action::End);
        }
        if state.left.restores > 0 {
            actions.push(match state.snapshot {
                None => Action::Snapshot,
                Some(_) => Action::Restore,
            });
        }
    }

    fn act(&self, state: &mut State, act: Act) {
        state.left.acts -= 1;
        match act {
            Act::DeleteSecret | Act::TakeSecret => state.server.cluster.secret = None,
            Act::AlterSecret => {
                state.server.touch(|secret| secret.is_altered = true);
            }
            Act::DriftSecret => {
                state.server.touch(|secret| secret.has_drifted = true);
            }
            Act::CreateForeignSecret => foreign_secret(&mut state.server),
            Act::DeleteUser => state.server.cluster.user = None,
            Act::Revoke | Act::Suspend | Act::ChangeMode => {
                let Some(user) = &mut state.server.cluster.user else {
                    return;
                };
                match act {
                    Act::Revoke => user.revoke += 1,
                    Act::Suspend => user.is_suspended = !user.is_suspended,
                    _ if user.mode == self.setting.mode => user.mode = other(user.mode),
                    _ => user.mode = self.setting.mode,
                }
            }
        }
    }
}

impl Model for Search {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut server = Server::with(self.setting.mode);
        if self.setting.starts_foreign {
            foreign_secret(&mut server);
        }
        vec![State {
            server,
            replicas: vec![Replica::idle(); self.setting.replicas],
            in_flight: Vec::new(),
            left: self.setting.budget,
            snapshot: None,
            next_uid: 1,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.replica_actions(state, actions);
        let owner = state.server.cluster.secret.map(|secret| secret.owner);
        if owner.is_some_and(|owner| owner != FOREIGN && !state.server.lives(owner)) {
            actions.push(Action::CollectGarbage);
        }
        self.user_actions(state, actions);
        self.time_actions(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Step(index) => {
                let acted = self.operator.step(&mut state, index, self.setting.in_flight);
                if !acted {
                    return None;
                }
            }
            Action::Sweep(index, slot) => {
                if state.in_flight.len() >= self.setting.in_flight {
                    return None;
                }
                self.operator.sweep(&mut state, index, slot);
            }
            Action::LookForUser(index) => state.replicas[index].doing = Doing::FoundNoUser,
            Action::Deliver(index) => self.operator.deliver(&mut state, index),
            Action::Drop(index) => {
                state.in_flight.remove(index);
            }
            Action::Refuse(index) => {
                state.left.refusals -= 1;
                self.operator.refuse(&mut state, index);
            }
            Action::Lose(index) => {
                state.left.losses -= 1;
                self.operator.lose(&mut state, index, false);
            }
            Action::Crash(index) => {
                state.left.crashes -= 1;
                self.operator.lose(&mut state, index, true);
            }
            Action::CollectGarbage => healing::collect_garbage(&mut state.server),
            Action::User(_, index) => self.act(&mut state, self.setting.acts[index]),
            Action::CreateUser => {
                let mut server = Server::with(self.setting.mode);
                let user = server.cluster.user.as_mut()?;
                user.uid = state.next_uid;
                state.server.cluster.user = Some(*user);
                state.next_uid += 1;
            }
            Action::RequestRotation => {
                state.left.rotations -= 1;
                state.server.cluster.user.as_mut()?.rotate += 1;
            }
            Action::End => state.end(),
            Action::Age => age(&mut state),
            Action::Snapshot => state.snapshot = Some(Box::new(state.server.cluster.clone())),
            Action::Restore => restore(&mut state)?,
        }
        Some(state.canonical())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(property::VISIBLE, |search: &Self, state: &State| {
                healing::visible_is_accepted(&search.operator, &state.server)
            }),
            Property::always(property::ENDLESS, |_, state: &State| {
                one_without_an_end(&state.server)
            }),
            Property::always(property::FOREIGN_WRITE, |_, state: &State| {
                !state.server.history.wrote_foreign
            }),
            Property::always(property::EARLY, |_, state: &State| !state.server.history.ended_early),
            Property::always(property::HEALS, |search: &Self, state: &State| {
                search.healed.check(&search.operator, state)
            }),
            Property::always(property::SERIAL, |search: &Self, state: &State| {
                !search.setting.one_per_serial || !state.server.history.serial_twice
            }),
            Property::always(property::REVOKED, |_, state: &State| {
                let records = state.server.cluster.records.iter().flatten();
                let mut entries = records.flat_map(|record| &record.entries);
                !entries.any(|entry| state.server.history.revoked & bit(entry.id) != 0)
            }),
            Property::always(property::UNREAD, |_, state: &State| {
                !state.server.history.withdrew_unseen
            }),
            Property::sometimes("delivered", |search: &Self, state: &State| {
                search.setting.starts_foreign
                    || healing::is_reached(&search.operator, &state.server)
            }),
            Property::sometimes("rotated", |search: &Self, state: &State| {
                let cluster = &state.server.cluster;
                search.setting.starts_foreign
                    || search.setting.budget.rotations == 0
                    || cluster.user.is_some_and(|user| user.rotate > 0)
                        && healing::is_reached(&search.operator, &state.server)
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        let mut records = state.server.cluster.records.iter().flatten();
        state.server.last_id <= self.setting.most_ids
            && records.all(|record| record.serial <= MOST_SERIALS)
    }
}

/// Whether a client secret is current, and none is on its way or on its way out.
fn is_at_rest(server: &Server) -> bool {
    let mut records = server.cluster.records.iter().flatten();
    records.any(|record| {
        let mut entries = record.entries.iter();
        record.entries.len() == 1 && entries.all(|entry| entry.life == Life::Current)
    })
}

fn age(state: &mut State) {
    for entry in state.records().flat_map(|record| &mut record.entries) {
        entry.is_aged |= entry.life == Life::Current;
    }
}

/// etcd goes back; the operator was stopped for it, so nothing is under way.
fn restore(state: &mut State) -> Option<()> {
    state.left.restores -= 1;
    state.server.cluster = *state.snapshot.take()?;
    state.in_flight.clear();
    state.replicas.fill(Replica::idle());
    Some(())
}

fn one_without_an_end(server: &Server) -> bool {
    server.cluster.records.iter().flatten().all(|record| {
        let entries = record.entries.iter();
        let current = entries.clone().filter(|it| it.life == Life::Current);
        let revealed = entries.filter(|it| {
            matches!(it.life, Life::Pending(_)) && server.history.revealed & bit(it.id) != 0
        });
        current.count() <= 1 && revealed.count() <= 1
    })
}

/// Only wrong variants issue without end.
const MOST_SERIALS: u8 = 16;

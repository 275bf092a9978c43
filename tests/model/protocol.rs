//! The model: who may act when, and what must hold in every state.

use std::hash::Hash;

use harness::model::{Budget, Frame, Kind, Place, Property, Replica as _, Round, Search};

use crate::acts::{self, Act};
use crate::cluster::{Entry, FOREIGN, History, Life, Mode, Request, Server, USERS, bit};
use crate::goal;
use crate::replica::{ClientIds, Operator};
use crate::state::{self, Doing, Replica, State, Then, World};
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
    /// could refuse each other forever.
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
    /// Whether no actor does anything for which a second secret of one serial were right.
    pub(crate) one_per_serial: bool,
}

/// What happens besides what happens to every kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Own {
    Sweep(usize, usize),
    LookForUser(usize),
    /// An admission policy refuses a reveal, in every state.
    Refuse(usize),
    CollectGarbage,
    CreateUser,
    RequestRotation,
    End,
    Age,
    Snapshot,
    Restore,
}

impl Kind for Operator {
    const NAME: &'static str = "model";
    const INVARIANTS: char = 'I';
    const HEALS: &'static str = property::HEALS;
    const MOST_ROUNDS: usize = 40;
    const MOST_WAITS: usize = 40;

    type Setting = Setting;
    type Wrong = Wrong;
    type World = World;
    type Replica = Replica;
    type Request = Request;
    type Then = Then;
    type Choice = ();
    type Act = Act;
    type Own = Own;

    fn new(setting: &Setting, wrong: Option<Wrong>) -> Self {
        Self::new(*setting, wrong)
    }

    fn frame(setting: &Setting) -> Frame {
        let Setting { name, replicas, budget, reaches, .. } = *setting;
        Frame { name, replicas, budget, reaches }
    }

    fn world(&self) -> World {
        let mut server = Server::with(self.setting.mode);
        if self.setting.starts_foreign {
            acts::foreign_secret(&mut server);
        }
        World { server, snapshot: None, next_uid: 1 }
    }

    fn choices(&self, _replica: &Replica) -> Vec<()> {
        vec![()]
    }

    fn own_actions(&self, state: &State, place: Place) -> Vec<Own> {
        let server = &state.world.server;
        let is_gone = server.cluster.user.is_none();
        let mut actions = Vec::new();
        match place {
            Place::First => {}
            Place::Idle(index) => {
                actions.extend(server.orphan().map(|slot| Own::Sweep(index, slot)));
                let is_blind = is_gone && self.is(Wrong::SweepReadsUserFirst);
                actions.extend(is_blind.then_some(Own::LookForUser(index)));
            }
            Place::Message(index) => {
                let is_reveal = matches!(state.in_flight[index].then, Then::Promote { .. });
                let is_refused = is_reveal && state.left.refusals > 0;
                actions.extend(is_refused.then_some(Own::Refuse(index)));
            }
            Place::BeforeUsers => {
                let owner = server.cluster.secret.map(|secret| secret.owner);
                let is_left = owner.is_some_and(|it| it != FOREIGN && !server.lives(it));
                actions.extend(is_left.then_some(Own::CollectGarbage));
            }
            Place::Last => {
                let is_free = is_gone && usize::from(state.world.next_uid) < USERS;
                actions.extend(is_free.then_some(Own::CreateUser));
                let may_rotate = !self.setting.rotates_at_rest || is_at_rest(server);
                let rotates = state.left.rotations > 0 && !is_gone && may_rotate;
                actions.extend(rotates.then_some(Own::RequestRotation));
                self.time_passes(state, &mut actions);
            }
        }
        actions
    }

    fn acts(&self, state: &State) -> Vec<(Act, u8)> {
        let acts = self.setting.acts.iter().copied();
        acts.filter(|act| acts::is_possible(*act, &state.world.server))
            .map(|act| (act, 0))
            .collect()
    }

    fn step(&self, state: &mut State, index: usize, (): ()) -> Option<()> {
        self.go_on(state, index).then_some(())
    }

    fn apply(&self, state: &mut State, request: &Request) {
        state.world.server.answer(request);
    }

    fn deliver(&self, state: &mut State, index: usize) {
        self.arrive(state, index);
    }

    fn give_up(&self, state: &mut State, index: usize, is_crash: bool) {
        self.lose(state, index, is_crash);
    }

    fn perform(&self, state: &mut State, act: Act, _way: u8) {
        acts::perform(&mut state.world.server, act, self.setting.mode);
    }

    fn happen(&self, state: &mut State, own: Own) -> Option<()> {
        match own {
            Own::Sweep(index, slot) => {
                self.has_room(state).then(|| self.sweep(state, index, slot))?;
            }
            Own::LookForUser(index) => state.replicas[index].doing = Doing::FoundNoUser,
            Own::Refuse(index) => {
                state.left.refusals -= 1;
                self.refuse(state, index);
            }
            Own::CollectGarbage => goal::collect_garbage(&mut state.world.server),
            Own::CreateUser => {
                let mut user = Server::with(self.setting.mode).cluster.user?;
                user.uid = state.world.next_uid;
                state.world.server.cluster.user = Some(user);
                state.world.next_uid += 1;
            }
            Own::RequestRotation => {
                state.left.rotations -= 1;
                state.world.server.cluster.user.as_mut()?.rotate += 1;
            }
            Own::End => state::end(state),
            Own::Age => age(state),
            Own::Snapshot => {
                state.world.snapshot = Some(Box::new(state.world.server.cluster.clone()));
            }
            Own::Restore => restore(state)?,
        }
        Some(())
    }

    fn canonical(&self, state: State) -> State {
        state::canonical(state)
    }

    fn is_within(&self, state: &State) -> bool {
        let server = &state.world.server;
        let mut records = server.cluster.records.iter().flatten();
        server.last_id <= self.setting.most_ids && records.all(|it| it.serial <= MOST_SERIALS)
    }

    fn properties() -> Vec<Property<Search<Self>>> {
        vec![
            Property::always(property::VISIBLE, |search: &Search<Self>, state: &State| {
                goal::visible_is_accepted(&search.kind, &state.world.server)
            }),
            Property::always(property::ENDLESS, |_, state: &State| {
                one_without_an_end(&state.world.server)
            }),
            Property::always(property::FOREIGN_WRITE, |_, state: &State| {
                !state.world.server.history.wrote_foreign
            }),
            Property::always(property::EARLY, |_, state: &State| {
                !state.world.server.history.ended_early
            }),
            Property::always(property::SERIAL, |search: &Search<Self>, state: &State| {
                let is_twice = state.world.server.history.serial_twice;
                !search.kind.setting.one_per_serial || !is_twice
            }),
            Property::always(property::REVOKED, |_, state: &State| {
                let Server { cluster, history, .. } = &state.world.server;
                let records = cluster.records.iter().flatten();
                let mut entries = records.flat_map(|record| &record.entries);
                !entries.any(|entry| history.revoked & bit(entry.id) != 0)
            }),
            Property::always(property::UNREAD, |_, state: &State| {
                !state.world.server.history.withdrew_unseen
            }),
            Property::sometimes("delivered", |search: &Search<Self>, state: &State| {
                search.kind.setting.starts_foreign
                    || goal::is_reached(&search.kind, &state.world.server)
            }),
            Property::sometimes("rotated", |search: &Search<Self>, state: &State| {
                let user = state.world.server.cluster.user;
                search.kind.setting.starts_foreign
                    || search.kind.setting.budget.rotations == 0
                    || user.is_some_and(|user| user.rotate > 0)
                        && goal::is_reached(&search.kind, &state.world.server)
            }),
        ]
    }

    fn stored(world: &World) -> impl Hash {
        &world.server.cluster
    }

    fn forget(&self, mut world: World) -> World {
        world.server.history = History::default();
        World { server: world.server, snapshot: None, next_uid: 0 }
    }

    fn recover(&self, state: &mut State) -> Round {
        goal::recover(self, state)
    }
}

impl Operator {
    fn time_passes(&self, state: &State, actions: &mut Vec<Own>) {
        let records = state.world.server.cluster.records.iter().flatten();
        let mut entries = records.flat_map(|record| &record.entries);
        let has_end = entries.clone().any(|entry| entry.life == Life::Old);
        let grows_old = |it: &Entry| it.life == Life::Current && !it.is_aged;
        let ages = self.setting.ages && entries.any(grows_old);
        actions.extend(ages.then_some(Own::Age));
        let is_bound = self.setting.bounds_creations && state::awaits_creation(state);
        actions.extend((has_end && !is_bound).then_some(Own::End));
        if state.left.restores > 0 {
            let is_kept = state.world.snapshot.is_some();
            actions.push(if is_kept { Own::Restore } else { Own::Snapshot });
        }
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
    for entry in state::records(state).flat_map(|record| &mut record.entries) {
        entry.is_aged |= entry.life == Life::Current;
    }
}

/// etcd goes back; the operator was stopped for it, so nothing is under way.
fn restore(state: &mut State) -> Option<()> {
    state.left.restores -= 1;
    state.world.server.cluster = *state.world.snapshot.take()?;
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

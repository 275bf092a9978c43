//! Both rotations under load: every library gets and verifies tokens without a pause, while its
//! client secret and the key that signs are replaced. None of it may fail.

use std::collections::BTreeSet;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::part;
use super::peer::{Bearer, Peer};
use super::trial::{Users, of};
use super::world::{Credential, World, until};

/// What one library saw.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) tokens: usize,
    pub(crate) faults: Vec<String>,
    kids: BTreeSet<String>,
    /// Tokens of the first client secret and of the second, after the second one was there.
    in_overlap: [usize; 2],
}

/// What all of them share.
#[derive(Default)]
struct Course {
    /// The new client secrets, as they come.
    delivered: RwLock<Users>,
    /// How many libraries saw all that there is to see, or failed.
    satisfied: AtomicUsize,
    is_over: AtomicBool,
}

/// Ends it when it is dropped, also by a panic.
struct End<'a>(&'a Course);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

pub(crate) fn through_rotations(world: &World, peers: &mut [Peer], users: &Users) -> Vec<Load> {
    let names: Vec<&'static str> = peers.iter().map(|peer| peer.user).collect();
    let course = Course::default();
    let mut loads = thread::scope(|scope| {
        let end = End(&course);
        let loads = peers.iter_mut().map(|peer| {
            let held = &users[peer.user];
            scope.spawn(|| Load::default().run(peer, held, &course))
        });
        let loads: Vec<_> = loads.collect();

        thread::sleep(A_WHILE);
        for name in &names {
            world.rotate_user(name);
        }
        world.rotate_key("default");
        until("new client secrets, and tokens of the new key", || {
            for name in &names {
                let new = world.credential(name).filter(|new| is_new(new, &users[name]));
                new.map(|new| course.delivered.write().unwrap().insert(name, new));
            }
            (course.satisfied.load(Ordering::SeqCst) == names.len()).then_some(())
        });
        thread::sleep(A_WHILE);
        drop(end);
        loads.into_iter().map(|load| load.join().unwrap()).collect::<Vec<Load>>()
    });
    revoke_all(world, peers, users, &mut loads);
    loads
}

/// Ends both client secrets, and has every library try the one that it held.
fn revoke_all(world: &World, peers: &mut [Peer], users: &Users, loads: &mut [Load]) {
    for peer in peers.iter() {
        world.revoke_user(peer.user);
    }
    thread::scope(|scope| {
        for (peer, load) in peers.iter_mut().zip(loads) {
            let held = &users[peer.user];
            scope.spawn(move || {
                let error =
                    until("the end of a revoked client secret", || peer.token(of(held)).err());
                if error != "invalid_client" {
                    let fault = format!("a revoked client secret: {error}");
                    load.faults.push(fault);
                }
            });
        }
    });
}

impl Load {
    fn run(mut self, peer: &mut Peer, held: &Credential, course: &Course) -> Self {
        let mut first = None;
        let mut is_satisfied = false;
        while !course.is_over.load(Ordering::SeqCst) {
            let new = course.delivered.read().unwrap().get(peer.user).cloned();
            let token = self.one(peer, held);
            if let Some(new) = new {
                let of_new = self.one(peer, &new);
                self.in_overlap[0] += usize::from(token.is_some());
                self.in_overlap[1] += usize::from(of_new.is_some());
            }
            first = first.or(token);
            // One of the key before stays good.
            if let Some(first) = &first {
                self.verify(peer, first);
            }
            let saw_all = self.kids.len() == 2 && !self.in_overlap.contains(&0);
            if !is_satisfied && (saw_all || !self.faults.is_empty()) {
                is_satisfied = true;
                course.satisfied.fetch_add(1, Ordering::SeqCst);
            }
            if !self.faults.is_empty() {
                break;
            }
        }
        self
    }

    fn one(&mut self, peer: &mut Peer, credential: &Credential) -> Option<String> {
        let token = peer.token(of(credential));
        let token = token.map_err(|error| self.faults.push(format!("a token: {error}"))).ok()?;
        self.tokens += 1;
        self.kids.insert(part(&token, 0)["kid"].to_string());
        self.verify(peer, &token);
        Some(token)
    }

    fn verify(&mut self, peer: &mut Peer, token: &str) {
        if let Err(reason) = peer.verify(Bearer { token, audience: None }) {
            self.faults.push(format!("verified under load: {reason}"));
        }
    }
}

fn is_new(new: &Credential, held: &Credential) -> bool {
    new.secret.id() != held.secret.id()
}

/// Long enough for many tokens before and after.
const A_WHILE: Duration = Duration::from_secs(2);

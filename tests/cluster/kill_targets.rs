//! Two operators, of which one leads, and what kills them, the API server and etcd.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, DeleteParams};
use support::control_plane::{ControlPlane, Process};

use crate::leaks::{self, Evidence};
use crate::operator::{Launch, Operator};
use crate::world::{SYSTEM, launch};

/// Everything that may be killed.
pub(crate) struct Victims {
    control_plane: ControlPlane,
    pub(crate) admin: Client,
    pub(crate) launches: [Launch; 2],
    operators: [Operator; 2],
    pub(crate) kills: Kills,
}

/// How often what was killed.
#[derive(Debug, Default)]
pub(crate) struct Kills {
    pub(crate) operator: u32,
    pub(crate) api_server: u32,
    pub(crate) etcd: u32,
}

impl Victims {
    /// Starts two operators with these flags beside the usual ones.
    pub(crate) async fn start(control_plane: ControlPlane, flags: &[(&str, &str)]) -> Self {
        let launches = ["operator-1.log", "operator-2.log"].map(|log| {
            let plain = launch(&control_plane, log);
            flags.iter().fold(plain, |launch, (flag, value)| launch.with(flag, value))
        });
        let operators = launches.each_ref().map(Launch::start);
        let admin = control_plane.client().await;
        Self { control_plane, admin, launches, operators, kills: Kills::default() }
    }

    /// Kills one program and starts it again.
    pub(crate) async fn strike(&mut self, number: u32) {
        let dice = crc32fast::hash(&number.to_be_bytes());
        match dice % 8 {
            0..=4 => self.strike_operator(dice >> 8).await,
            5..=6 => {
                self.kills.api_server += 1;
                self.control_plane.restart(Process::ApiServer).await.unwrap();
            }
            _ => {
                self.kills.etcd += 1;
                self.control_plane.restart(Process::Etcd).await.unwrap();
            }
        }
    }

    async fn strike_operator(&mut self, dice: u32) {
        self.kills.operator += 1;
        let victim = usize::from(dice % 2 == 1);
        self.operators[victim] = self.launches[victim].start();
        // The lease of the dead would calm everything for 15 s, so most of the time it goes; then
        // two may lead for a while, which has to be as safe.
        if !(dice >> 1).is_multiple_of(4) {
            let leases = Api::<Lease>::namespaced(self.admin.clone(), SYSTEM);
            let now = DeleteParams::default();
            let _ = tokio::time::timeout(CALL, leases.delete(LEASE, &now)).await;
        }
    }

    /// Searches what everybody wrote for what `evidence` says is secret, and for what the cluster
    /// has by now.
    pub(crate) async fn search_for_leaks(&self, name: &str, mut evidence: Evidence) {
        for operator in &self.operators {
            evidence.text("metrics", operator.metrics().await);
        }
        let logs: Vec<PathBuf> = self.launches.iter().map(|launch| launch.log.clone()).collect();
        leaks::search(name, evidence, &self.control_plane, &logs);
    }
}

const LEASE: &str = "technical-user-operator";

const CALL: Duration = Duration::from_secs(5);

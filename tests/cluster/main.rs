//! The operator against a real kube-apiserver, etcd and kube-controller-manager: what users see,
//! what the rights in `config/rbac.yaml` allow, and what remains after faults and kills.
//!
//! Without the programs of the control plane every test here skips loudly, and fails in CI.

mod admission;
mod delivery;
mod faults;
mod figures;
mod issue;
mod kills;
mod leaks;
mod load;
mod loss;
mod namespace;
mod obstacles;
mod operator;
mod oracle;
mod replica;
mod replicas;
mod rights;
mod rotation;
mod world;

//! Machine-to-machine identity as Kubernetes resources.
//!
//! In reading order: what users write ([`api`]), what is decided ([`domain`]), the doors to time
//! and randomness ([`environment`]), the controllers that act on it ([`controller`]), what is served
//! ([`server`]), and how it all becomes a process ([`cli`], [`process`]).

pub mod api;
pub mod domain;
pub mod kubernetes;

pub mod environment;
pub mod heartbeat;
pub mod trace_context;

pub mod directory;

pub mod controller;
pub mod server;

pub mod cli;
pub mod process;

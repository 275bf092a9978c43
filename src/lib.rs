//! Machine-to-machine identity as Kubernetes resources, in reading order: what users write
//! ([`api`]), what is decided ([`domain`]), the doors to time and randomness ([`environment`]), and
//! who carries it out ([`controller`]).

pub mod api;
pub mod domain;
pub mod environment;
pub mod controller;

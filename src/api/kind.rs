//! The names of a kind in the API, and the fields that the status of every kind has.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::core::object::HasStatus;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::condition::Condition;
use super::installation::Installation;

/// A kind of custom resource of this API group.
pub trait Kind:
    Resource<DynamicType = ()>
    + HasStatus<Status: KindStatus>
    + Clone
    + std::fmt::Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its name.
    const KIND: &'static str;
    /// Its name in URLs and in RBAC.
    const PLURAL: &'static str;
    /// Its status subresource in RBAC.
    const STATUS: &'static str;
}

/// The status of a custom resource.
pub trait KindStatus: Clone + Default + PartialEq + Serialize + Send + Sync + 'static {
    /// The conditions.
    fn conditions(&self) -> &[Condition];

    /// Sets the conditions, and the generation that they are about.
    fn set_conditions(&mut self, observed_generation: i64, conditions: Vec<Condition>);

    /// The installation that holds the resource.
    fn installation(&self) -> Option<&Installation>;

    /// Sets the installation that holds the resource.
    fn set_installation(&mut self, own: Installation);

    /// When the next rotation is due, of a kind that has rotations.
    fn next_rotation_time(&self) -> Option<&Time> {
        None
    }

    /// Sorts the lists. The API server may change the order of their items.
    fn sort_lists(&mut self);
}

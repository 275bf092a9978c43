//! Whose an object is, by its owner references: names do not identify, uids do.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::api::GROUP;
use crate::api::kind::Kind;
use crate::domain::object::Belongs;
use crate::kubernetes::codec::controller_of;

/// The controller of an object, by its owner reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ownership {
    /// The uid of the owner.
    pub(super) uid: String,
    /// Its name, if it is of the kind that was asked for.
    pub(super) name: Option<String>,
    is_sole: bool,
}

/// The owner references of an object that the resource of that uid and name controls.
pub(super) fn owner_references<K: Kind>(uid: &str, name: &str) -> [OwnerReference; 1] {
    [OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::KIND.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }]
}

impl Ownership {
    /// The controller of the object; `kind` is one of ours.
    pub(super) fn of(kind: &str, metadata: &ObjectMeta) -> Option<Self> {
        let controller = controller_of(metadata)?;
        let OwnerReference { uid, name, .. } = controller;
        // The API server bounds neither, and no object has a longer one.
        let is_owner = is_our(kind, controller) && name.len() <= MAX_NAME;
        Some(Self {
            uid: if uid.len() <= MAX_NAME { uid.clone() } else { String::new() },
            name: is_owner.then(|| name.clone()),
            is_sole: metadata.owner_references.as_ref().is_some_and(|all| all.len() == 1),
        })
    }

    /// The relation of the object to the resource of that uid and name.
    ///
    /// The owner of another uid is a predecessor only if the name has the uid of the resource still,
    /// after the object was read: else it is the successor.
    pub(super) fn relation_to(&self, uid: &str, name: &str) -> Belongs {
        let is_namesake = self.name.as_deref() == Some(name) && self.is_sole;
        match (self.uid == uid, is_namesake) {
            (true, _) => Belongs::Ours,
            (false, true) => Belongs::Predecessor,
            (false, false) => Belongs::Foreign,
        }
    }
}

/// The longest name that an object can have.
const MAX_NAME: usize = 253;

/// Whether the owner is of that kind of ours.
fn is_our(kind: &str, owner: &OwnerReference) -> bool {
    owner.kind == kind && owner.api_version.split('/').next() == Some(GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(kind: &str, name: &str, uid: &str) -> OwnerReference {
        OwnerReference {
            api_version: "iam.cyoda.com/v1alpha1".to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    fn belongs(owners: Vec<OwnerReference>) -> Option<Belongs> {
        let metadata = ObjectMeta { owner_references: Some(owners), ..ObjectMeta::default() };
        let ownership = Ownership::of("TechnicalUser", &metadata)?;
        Some(ownership.relation_to("new", "billing"))
    }

    #[test]
    fn only_what_has_a_namesake_for_its_sole_owner_is_of_a_predecessor() {
        let namesake = || owner("TechnicalUser", "billing", "old");
        let other_group = OwnerReference { api_version: "v1".to_owned(), ..namesake() };
        let uncontrolled = OwnerReference { controller: None, ..namesake() };

        assert_eq!(belongs(vec![namesake()]), Some(Belongs::Predecessor));
        assert_eq!(belongs(vec![owner("TechnicalUser", "billing", "new")]), Some(Belongs::Ours));
        for foreign in [
            vec![owner("TechnicalUser", "orders", "old")],
            vec![owner("Deployment", "billing", "old")],
            vec![other_group],
            vec![namesake(), OwnerReference { controller: None, ..owner("Pod", "a", "b") }],
        ] {
            assert_eq!(belongs(foreign.clone()), Some(Belongs::Foreign), "{foreign:?}");
        }
        assert_eq!(belongs(vec![uncontrolled]), None);
        assert_eq!(belongs(vec![]), None);
    }

    #[test]
    fn an_owner_that_no_object_can_be_is_not_kept() {
        let long = "x".repeat(254);
        let owners = vec![owner("TechnicalUser", &long, &long)];
        let metadata = ObjectMeta { owner_references: Some(owners), ..ObjectMeta::default() };

        let ownership = Ownership::of("TechnicalUser", &metadata).unwrap();

        assert_eq!((ownership.uid.as_str(), &ownership.name), ("", &None));
        assert_eq!(ownership.relation_to(&long, &long), Belongs::Foreign);
    }
}

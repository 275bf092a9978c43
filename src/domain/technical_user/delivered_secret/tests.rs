//! The state of a delivered Secret by its metadata, and what is corrected in it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn template(keys: &[(&str, CredentialField)], labels: &[(&str, &str)]) -> SecretTemplate {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    SecretTemplate {
        keys: keys.iter().map(|(alias, field)| ((*alias).to_owned(), *field)).collect(),
        labels: labels.iter().map(own).collect(),
        ..SecretTemplate::default()
    }
}

fn content(template: &SecretTemplate) -> DesiredSecret {
    let endpoints = Endpoints { issuer: "https://issuer.example".to_owned() };
    DesiredSecret::of("billing", &"billing".parse().unwrap(), template, &endpoints)
}

fn plain() -> DesiredSecret {
    content(&template(&[], &[]))
}

/// A Secret as it is once that content was delivered.
fn delivered(content: &DesiredSecret) -> ObservedSecret {
    let id = "aaaaaaaaaa".parse().unwrap();
    let digest = content.delivery_annotations(&id).remove(api::CONTENT_DIGEST);
    ObservedSecret {
        version: Version { uid: "uid".to_owned(), resource_version: "7".to_owned() },
        belongs: Belongs::Ours,
        is_terminating: false,
        mutability: Mutability::Mutable,
        credential_id: Some(id),
        secret_fields: content.secret_fields.clone(),
        attempt: 0,
        content_digest: digest,
        labels: content.labels.clone(),
        annotations: content.annotations.clone(),
        ours: ManagedFields {
            fields: content.fields.keys().chain(&content.secret_fields).cloned().collect(),
            labels: content.labels.keys().cloned().collect(),
            annotations: content
                .delivery_annotations(&"aaaaaaaaaa".parse().unwrap())
                .into_keys()
                .collect(),
        },
        foreign_fields: BTreeMap::new(),
        rewritten_fields: BTreeSet::new(),
        has_applied_copy: false,
    }
}

/// Carries a refresh out. A value that already was right changes nothing, not even its owner.
fn carry_out(delivered: &mut ObservedSecret, refresh: &Refresh, right: &[&str]) {
    let mut annotations = refresh.annotations.clone();
    if let Some(Some(digest)) = annotations.remove(api::CONTENT_DIGEST) {
        delivered.content_digest = Some(digest);
    }
    if let Some(Some(fields)) = annotations.remove(api::CLIENT_SECRET_FIELDS) {
        delivered.secret_fields = fields.split(',').map(str::to_owned).collect();
    }
    change(&mut delivered.annotations, &mut delivered.ours.annotations, &annotations);
    change(&mut delivered.labels, &mut delivered.ours.labels, &refresh.labels);
    for (field, value) in &refresh.fields {
        if right.contains(&field.as_str()) {
            continue;
        }
        delivered.foreign_fields.remove(field);
        match value {
            Some(_) => delivered.ours.fields.insert(field.clone()),
            None => delivered.ours.fields.remove(field),
        };
    }
}

fn change(
    present: &mut BTreeMap<String, String>,
    ours: &mut BTreeSet<String>,
    changes: &BTreeMap<String, Option<String>>,
) {
    for (name, value) in changes {
        if let Some(value) = value {
            present.insert(name.clone(), value.clone());
            ours.insert(name.clone());
        } else {
            present.remove(name);
            ours.remove(name);
        }
    }
}

/// How many refreshes it takes until nothing is left to correct.
fn refreshes(content: &DesiredSecret, delivered: &mut ObservedSecret, right: &[&str]) -> usize {
    for count in 0..5 {
        let Some(refresh) = content.refresh(delivered) else {
            return count;
        };
        let touched = refresh.fields.keys().find(|field| delivered.secret_fields.contains(*field));
        let is_given_up = touched.is_none_or(|field| !content.secret_fields.contains(field));
        assert!(is_given_up, "a refresh never writes the client secret: {touched:?}");
        carry_out(delivered, &refresh, right);
    }
    panic!("no end: {:?}", content.refresh(delivered));
}

#[test]
fn every_value_stands_under_both_spellings() {
    let fields = plain().fields;

    assert_eq!(fields["client_id"], fields["client-id"]);
    assert_eq!(fields["token_url"], "https://issuer.example/oauth2/token");
    assert_eq!(fields["token-uri"], fields["token_url"]);
    assert_eq!(fields["issuer-uri"], fields["issuer"]);
    assert_eq!(fields["jwk-set-uri"], "https://issuer.example/.well-known/jwks.json");
    assert!(SECRET_FIELDS.iter().all(|field| !fields.contains_key(*field)));
}

#[test]
fn aliases_copy_their_source_and_only_their_names_are_known_of_the_client_secret() {
    let aliases = [
        ("CLIENT_ID", CredentialField::ClientId),
        ("CLIENT_SECRET", CredentialField::ClientSecret),
        ("JWKS", CredentialField::JwksUri),
    ];

    let content = content(&template(&aliases, &[]));

    assert_eq!(content.fields["CLIENT_ID"], "billing");
    assert_eq!(content.fields["JWKS"], content.fields["jwk-set-uri"]);
    assert!(!content.fields.contains_key("CLIENT_SECRET"));
    assert!(content.secret_fields.contains("CLIENT_SECRET"));
}

#[test]
fn our_labels_win_over_labels_of_the_template() {
    let content = content(&template(&[], &[(api::MANAGED, "false"), ("team", "payments")]));

    assert_eq!(content.labels[api::MANAGED], "true");
    assert_eq!(content.labels["team"], "payments");
}

#[test]
fn what_was_just_delivered_needs_no_refresh() {
    assert_eq!(plain().refresh(&delivered(&plain())), None);
}

#[test]
fn a_placeholder_gets_its_labels_but_no_data() {
    let mut placeholder = delivered(&plain());
    placeholder.credential_id = None;
    placeholder.content_digest = None;
    placeholder.secret_fields.clear();
    placeholder.ours = ManagedFields::default();
    placeholder.labels.clear();

    let refresh = plain().refresh(&placeholder).unwrap();

    assert!(refresh.fields.is_empty() && refresh.annotations.is_empty());
    assert_eq!(refresh.labels.len(), plain().labels.len());
}

#[test]
fn labels_of_the_user_survive_and_labels_of_ours_that_are_wanted_no_more_go() {
    let mut secret = delivered(&content(&template(&[], &[("team", "payments")])));
    secret.labels.insert("mine".to_owned(), "kept".to_owned());

    let refresh = plain().refresh(&secret).unwrap();
    assert_eq!(refreshes(&plain(), &mut secret, &[]), 1);

    assert_eq!(refresh.labels, BTreeMap::from([("team".to_owned(), None)]));
    assert_eq!(secret.labels["mine"], "kept");
}

#[test]
fn a_label_that_is_removed_or_changed_is_written_again_once() {
    let mut removed = delivered(&plain());
    removed.labels.remove(api::MANAGED);
    let mut changed = delivered(&plain());
    changed.labels.insert(api::MANAGED.to_owned(), "false".to_owned());
    changed.ours.labels.remove(api::MANAGED);

    for mut secret in [removed, changed] {
        assert_eq!(refreshes(&plain(), &mut secret, &[]), 1);
        assert_eq!(secret.labels[api::MANAGED], "true");
    }
}

#[test]
fn a_new_value_is_written_and_a_former_alias_goes() {
    let former = content(&template(&[("ID", CredentialField::ClientId)], &[]));
    let mut secret = delivered(&former);
    let mut moved = plain();
    moved.fields.insert("issuer".to_owned(), "https://elsewhere.example".to_owned());

    let refresh = moved.refresh(&secret).unwrap();
    assert_eq!(refreshes(&moved, &mut secret, &[]), 1);

    assert_eq!(refresh.fields["ID"], None);
    assert_eq!(refresh.fields["issuer"].as_deref(), Some("https://elsewhere.example"));
}

#[test]
fn a_field_that_somebody_removed_comes_back() {
    let mut secret = delivered(&plain());
    secret.ours.fields.remove("issuer");

    assert_eq!(refreshes(&plain(), &mut secret, &[]), 1);
    assert!(secret.ours.fields.contains("issuer"));
}

#[test]
fn a_field_that_somebody_changed_is_corrected_and_then_left() {
    let mut secret = delivered(&plain());
    secret.ours.fields.remove("issuer");
    secret.foreign_fields.insert("issuer".to_owned(), "kubectl at noon".to_owned());

    let count = refreshes(&plain(), &mut secret, &[]);

    assert!((1..=2).contains(&count), "{count}");
    assert!(secret.foreign_fields.is_empty());
}

#[test]
fn a_field_that_somebody_wrote_with_the_right_value_is_not_written_for_ever() {
    let mut secret = delivered(&plain());
    secret.ours.fields.remove("issuer");
    secret.foreign_fields.insert("issuer".to_owned(), "argocd at noon".to_owned());

    assert_eq!(refreshes(&plain(), &mut secret, &["issuer"]), 1);

    secret.foreign_fields.insert("issuer".to_owned(), "argocd at one".to_owned());
    assert_eq!(refreshes(&plain(), &mut secret, &["issuer"]), 1, "it may be another value now");
}

#[test]
fn fields_that_a_user_adds_are_left_alone() {
    let mut secret = delivered(&plain());
    secret.foreign_fields.insert("notes".to_owned(), "kubectl at noon".to_owned());

    assert_eq!(plain().refresh(&secret), None);
}

#[test]
fn a_new_alias_of_the_client_secret_waits_for_the_next_one() {
    let wishing = content(&template(&[("SECRET", CredentialField::ClientSecret)], &[]));
    let mut secret = delivered(&plain());

    assert_eq!(wishing.pending_aliases(&secret), ["SECRET"]);
    assert_eq!(refreshes(&wishing, &mut secret, &[]), 0);
    assert!(!secret.is_altered());
}

#[test]
fn a_former_alias_of_the_client_secret_goes() {
    let mut secret =
        delivered(&content(&template(&[("SECRET", CredentialField::ClientSecret)], &[])));

    assert_eq!(refreshes(&plain(), &mut secret, &[]), 1);

    assert!(!secret.ours.fields.contains("SECRET"));
    assert!(!secret.secret_fields.contains("SECRET"));
    assert!(!secret.is_altered());
}

#[test]
fn an_alias_may_change_its_source_both_ways() {
    let as_secret = content(&template(&[("X", CredentialField::ClientSecret)], &[]));
    let as_issuer = content(&template(&[("X", CredentialField::Issuer)], &[]));

    let mut secret = delivered(&as_secret);
    assert_eq!(refreshes(&as_issuer, &mut secret, &[]), 1);
    assert!(secret.ours.fields.contains("X") && !secret.secret_fields.contains("X"));

    let mut secret = delivered(&as_issuer);
    assert_eq!(refreshes(&as_secret, &mut secret, &[]), 1);
    assert_eq!(as_secret.pending_aliases(&secret), ["X"]);
    assert!(!secret.ours.fields.contains("X"));
}

#[test]
fn a_field_of_ours_that_nobody_wants_goes_even_when_all_else_is_right() {
    let mut secret = delivered(&plain());
    secret.ours.fields.insert("stale".to_owned());

    assert_eq!(refreshes(&plain(), &mut secret, &[]), 1);
    assert!(!secret.ours.fields.contains("stale"));
}

#[test]
fn the_books_forget_an_alias_that_somebody_removed_and_nobody_wants() {
    let mut secret = delivered(&plain());
    secret.secret_fields.insert("SECRET".to_owned());

    assert_eq!(refreshes(&plain(), &mut secret, &[]), 1);
    assert_eq!(secret.secret_fields, plain().secret_fields);
}

#[test]
fn what_is_gone_already_is_not_removed_again() {
    let mut secret = delivered(&plain());
    secret.ours.labels.insert("team".to_owned());
    secret.ours.annotations.insert("note".to_owned());

    assert_eq!(plain().refresh(&secret), None);
}

#[test]
fn a_foreign_hand_on_any_field_of_the_client_secret_shows() {
    let content = content(&template(&[("SECRET", CredentialField::ClientSecret)], &[]));
    for field in ["client_secret", "client-secret", "SECRET"] {
        let mut secret = delivered(&content);
        secret.ours.fields.remove(field);

        assert!(secret.is_altered(), "{field}");
        assert_eq!(secret.unaltered_id(), None);
        assert_eq!(secret.credential().unaltered_id, None);
    }
}

#[test]
fn a_foreign_hand_on_another_field_is_no_alteration() {
    let mut secret = delivered(&plain());
    secret.ours.fields.remove("issuer");

    assert!(!secret.is_altered());
}

#[test]
fn a_secret_without_a_client_secret_is_not_altered() {
    let mut secret = delivered(&plain());
    secret.credential_id = None;
    secret.ours = ManagedFields::default();

    assert!(!secret.is_altered());
    assert!(plain().pending_aliases(&secret).is_empty());
}

/// As after a reset of `managedFields`, which Kubernetes documents.
fn untracked(content: &DesiredSecret) -> ObservedSecret {
    let mut secret = delivered(content);
    secret.ours = ManagedFields::default();
    secret
}

#[test]
fn lost_ownership_of_the_client_secret_proves_nothing() {
    let secret = untracked(&plain());

    assert!(!secret.is_altered());
    assert_eq!(plain().refresh(&secret), None, "nothing is known to be wrong");
}

#[test]
fn ownership_that_another_manager_inherited_proves_nothing() {
    let mut secret = untracked(&plain());
    let content = plain();
    let fields: Vec<&str> = content.fields.keys().map(String::as_str).collect();
    let all = fields.iter().copied().chain(SECRET_FIELDS);
    let hand = "ancient-changes at noon".to_owned();
    secret.foreign_fields = all.map(|field| (field.to_owned(), hand.clone())).collect();

    assert!(!secret.is_altered());
    assert_eq!(refreshes(&content, &mut secret, &fields), 1, "written over once");
}

#[test]
fn a_proved_writer_of_the_client_secret_shows_although_our_ownership_is_lost() {
    let mut secret = untracked(&plain());
    secret.rewritten_fields.insert("client_secret".to_owned());

    assert!(secret.is_altered());
}

#[test]
fn a_new_value_reaches_a_secret_whose_ownership_is_lost() {
    let mut secret = untracked(&plain());
    let mut moved = plain();
    moved.fields.insert("issuer".to_owned(), "https://elsewhere.example".to_owned());

    let refresh = moved.refresh(&secret).unwrap();
    secret.content_digest = refresh.annotations[api::CONTENT_DIGEST].clone();

    assert_eq!(refresh.fields["issuer"].as_deref(), Some("https://elsewhere.example"));
    assert_eq!(moved.refresh(&secret), None);
}

#[test]
fn the_copy_that_kubectl_apply_leaves_is_removed() {
    let mut secret = delivered(&plain());
    secret.has_applied_copy = true;

    let refresh = plain().refresh(&secret).unwrap();

    assert_eq!(refresh.annotations, BTreeMap::from([(api::LAST_APPLIED.to_owned(), None)]));
    assert!(refresh.fields.is_empty());
}

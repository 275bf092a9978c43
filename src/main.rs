//! x
fn main() {
    print!(
        "{}",
        serde_yaml_ng::to_string(&technical_user_operator::api::technical_user::crd()).unwrap()
    );
}

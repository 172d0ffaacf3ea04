use super::*;

fn fruits(shares: &[&str], share_threshold: u32) -> String {
    let answer = InitResponse {
        vault_id: "0a".repeat(16),
        shares: shares.iter().map(|&share| share.to_owned()).collect(),
        bootstrap_credential: "coffer-bootstrap-x".into(),
        bootstrap_expires: Some(prost_types::Timestamp { seconds: 3_600, nanos: 0 }),
    };
    Fruits::new(answer, share_threshold).render(&View { now: jiff::Timestamp::UNIX_EPOCH, width: None })
}

#[test]
fn init_shows_the_shares_and_what_to_do_next() {
    assert_eq!(
        fruits(&["coffer-share-1", "coffer-share-2"], 2),
        "Vault 0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a is initialised.\n\
         \n\
         Share 1: coffer-share-1\n\
         Share 2: coffer-share-2\n\
         \n\
         Bootstrap credential (ends in 60m): coffer-bootstrap-x\n\
         \n\
         This is shown once and kept nowhere. Give each share to another person. Next:\n  \
           1. coffer operator unseal                     2 times, by its holder, a share each time\n  \
           2. coffer login --method bootstrap            with the bootstrap credential\n  \
           3. coffer user create NAME --role admin       who runs the vault\n  \
           4. coffer user create NAME --role officer     who decides who may read: another person\n"
    );
}

#[test]
fn init_with_a_static_key_begins_with_the_login() {
    let text = fruits(&[], 0);
    assert!(text.contains("Next:\n  1. coffer login --method bootstrap"), "{text}");
    assert!(!text.contains("hare"), "{text}");
}

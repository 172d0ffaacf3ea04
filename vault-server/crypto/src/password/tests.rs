use std::time::{Duration, Instant};

use super::*;

fn secret(text: &str) -> SecretString {
    SecretString::copied_from(text)
}

#[test]
fn the_vector_of_the_reference_implementation_comes_out() {
    // phc-winner-argon2, src/test.c: Argon2id, version 0x13, t=2, m=2^16 KiB, p=1, "password", "somesalt".
    let parameters = Params::new(1 << 16, 2, 1, Some(HASH_BYTES)).unwrap();
    let mut hash = [0; HASH_BYTES];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters).hash_password_into(b"password", b"somesalt", &mut hash).unwrap();
    assert_eq!(hex::encode(hash), "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7");
}

#[test]
fn only_the_password_is_right() {
    let phc = hash(&secret("correct horse")).unwrap();
    assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
    assert!(verify(&secret("correct horse"), &phc));
    for wrong in ["", "correct hors", "correct horsf", "correct horse ", "Correct horse"] {
        assert!(!verify(&secret(wrong), &phc), "{wrong}");
    }
    assert_ne!(hash(&secret("correct horse")).unwrap(), phc, "the salt is new each time");
    assert!(!is_outdated(&phc));
}

#[test]
fn what_is_no_hash_is_that_of_no_password() {
    let phc = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(Stored::parse(phc).is_some());
    assert!(is_outdated(phc));
    for (part, other) in [
        ("argon2id", "argon2i"),
        ("v=19", "v=16"),
        ("$v=19", ""),
        ("m=8", "m=08"),
        ("m=8", "m=+8"),
        ("m=8", "m=0"),
        ("m=8", "m=262145"),
        ("m=8", "m=4294967296"),
        ("t=1", "t=0"),
        ("t=1", "t=17"),
        ("p=1", "p=0"),
        ("p=1", "p=17"),
        ("p=1", "p=1,k=2"),
        ("m=8,t=1", "t=1,m=8"),
        ("$AAAAAAAAAAAAAAAAAAAAAA$", "$AAAAAAAAAAAAAAAAAAAAA$"),
        ("$AAAAAAAAAAAAAAAAAAAAAA$", "$AAAAAAAAAAAAAAAAAAAAAB$"),
        ("AAA", ""),
        ("p=1$", "p=1$$"),
    ] {
        let changed = phc.replacen(part, other, 1);
        assert_ne!(changed, phc);
        assert!(Stored::parse(&changed).is_none(), "{changed}");
        assert!(!verify(&secret(""), &changed), "{changed}");
    }
    assert!(!verify(&secret(""), ""));
    assert!(!verify(&secret(""), &format!("{phc}$")));
    // At the limits it is read.
    assert!(Stored::parse(&phc.replace("m=8,t=1,p=1", "m=262144,t=16,p=16")).is_some());
}

#[test]
fn an_unknown_name_costs_what_a_known_one_costs() {
    let phc = hash(&secret("password")).unwrap();
    let timed = |check: &dyn Fn() -> bool| -> Duration {
        let start = Instant::now();
        assert!(!check());
        start.elapsed()
    };
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    for _ in 0..7 {
        known = known.min(timed(&|| verify(&secret("wrong"), &phc)));
        unknown = unknown.min(timed(&|| dummy(&secret("wrong"))));
    }
    // The fastest of each, since the machine has other things to do: a name that cost nothing would be far off.
    assert!(unknown > known / 3 && known > unknown / 3, "{known:?} and {unknown:?}");
}

use coffer_crypto::{
    ecdsa::{Curve, EcdsaKey},
    spki::ecdsa_pem,
};

use super::*;

fn pem() -> String {
    ecdsa_pem(Curve::P256, EcdsaKey::generate(Curve::P256).unwrap().public_key())
}

fn trusted(file: TrustFile) -> Result<Trust, TrustError> {
    let mut trust = Trust::default();
    trust.add(file).map(|()| trust)
}

fn base(layers: usize) -> Base {
    Base { name: "debian 12".to_owned(), diff_ids: vec![Digest::of(b"layer"); layers] }
}

#[test]
fn as_much_is_trusted_as_may_be_and_no_more() {
    let registries = |count| TrustFile { registries: vec!["a.example".to_owned(); count], ..TrustFile::default() };
    assert!(trusted(registries(SCOPES_MAX)).is_ok());
    assert_eq!(trusted(registries(SCOPES_MAX + 1)).err(), Some(TrustError::Many(SCOPES_MAX + 1, "registries", SCOPES_MAX)));
    let keys = |count| TrustFile { cosign_keys: (0..count).map(|_| pem()).collect(), ..TrustFile::default() };
    assert!(trusted(keys(KEYS_MAX)).is_ok());
    assert_eq!(trusted(keys(KEYS_MAX + 1)).err(), Some(TrustError::Many(KEYS_MAX + 1, "keys", KEYS_MAX)));
    let in_one = |count| TrustFile { cosign_keys: vec![(0..count).map(|_| pem()).collect()], ..TrustFile::default() };
    assert!(trusted(in_one(KEYS_MAX)).is_ok() && trusted(in_one(KEYS_MAX + 1)).is_err());
    let bases = |count| TrustFile { bases: vec![base(1); count], ..TrustFile::default() };
    assert!(trusted(bases(BASES_MAX)).is_ok());
    assert_eq!(trusted(bases(BASES_MAX + 1)).err(), Some(TrustError::Many(BASES_MAX + 1, "base images", BASES_MAX)));
    // What is trusted adds up.
    let mut trust = trusted(keys(KEYS_MAX)).unwrap();
    assert!(trust.add(keys(1)).is_err());
}

#[test]
fn what_cannot_be_trusted_is_refused_with_its_place() {
    let of_base = |base| TrustFile { bases: vec![base], ..TrustFile::default() };
    let named = |bytes| Base { name: "n".repeat(bytes), ..base(1) };
    assert!(trusted(of_base(named(BASE_NAME_BYTES_MAX))).is_ok());
    for (file, told) in [
        (TrustFile::default(), "it names nothing to trust"),
        (TrustFile { registries: vec!["busybox".to_owned()], ..TrustFile::default() }, "\"busybox\" is no registry: write HOST"),
        (TrustFile { signed_as: vec!["a.example/b:1".to_owned()], ..TrustFile::default() }, "\"a.example/b:1\" is no registry"),
        (TrustFile { cosign_keys: vec![pem(), "x".to_owned()], ..TrustFile::default() }, "key 2: it has no public keys in PEM"),
        (of_base(base(0)), "it has no diff_ids"),
        (of_base(base(LAYERS_MAX + 1)), "it has more layers"),
        (of_base(named(0)), "its name has 1 to 512 bytes"),
        (of_base(named(BASE_NAME_BYTES_MAX + 1)), "its name has 1 to 512 bytes"),
        (of_base(Base { name: "a\nb".to_owned(), ..base(1) }), "its name has 1 to 512 bytes"),
    ] {
        let why = trusted(file).unwrap_err().to_string();
        assert!(why.contains(told), "{why}");
    }
    assert!(trusted(of_base(base(LAYERS_MAX))).is_ok());
}

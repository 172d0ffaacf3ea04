use super::*;

fn parsed(keys: &[Value]) -> Result<Vec<String>, KeySetError> {
    let set = KeySet::parse(&json!({ "keys": keys }).to_string())?;
    Ok(set.key_ids().into_iter().map(str::to_owned).collect())
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    let members = jwk.as_object_mut().unwrap();
    match value {
        Value::Null => drop(members.remove(name)),
        value => drop(members.insert(name.to_owned(), value)),
    }
    jwk
}

#[test]
fn only_usable_keys_are_in_a_set() {
    let (rsa, ec) = (Signer::rsa().jwk("rsa"), Signer::ec().jwk("ec"));
    let modulus = |bytes: usize, first: u8| {
        let mut modulus = vec![0xff; bytes];
        modulus[0] = first;
        json!(URL_SAFE_NO_PAD.encode(modulus))
    };
    #[rustfmt::skip]
    let cases = [
        (with(rsa.clone(), "alg", Value::Null), true),
        (with(rsa.clone(), "use", Value::Null), true),
        (with(rsa.clone(), "x5c", json!(["MIIB"])), true),
        (with(rsa.clone(), "key_ops", json!(["verify"])), true),
        (with(rsa.clone(), "key_ops", json!(["encrypt"])), false),
        (with(rsa.clone(), "use", json!("enc")), false),
        (with(rsa.clone(), "alg", json!("RS512")), false),
        (with(rsa.clone(), "alg", json!("PS256")), false),
        (with(rsa.clone(), "alg", json!("HS256")), false),
        (with(rsa.clone(), "alg", json!("ES256")), false),
        (with(rsa.clone(), "kty", json!("oct")), false),
        (with(rsa.clone(), "kid", Value::Null), false),
        (with(rsa.clone(), "kid", json!("")), false),
        (with(rsa.clone(), "kid", json!(7)), false),
        (with(rsa.clone(), "n", Value::Null), false),
        (with(rsa.clone(), "n", json!("AQ=")), false),
        // 2,048 bits are enough, 2,047 are not; 8,192 are few enough, 8,193 are not.
        (with(rsa.clone(), "n", modulus(256, 0x80)), true),
        (with(rsa.clone(), "n", modulus(256, 0x7f)), false),
        (with(rsa.clone(), "n", modulus(128, 0xff)), false),
        (with(rsa.clone(), "n", modulus(1_024, 0xff)), true),
        (with(rsa.clone(), "n", modulus(1_025, 0x01)), false),
        (with(rsa.clone(), "n", modulus(257, 0x00)), false),
        (with(rsa.clone(), "e", json!("AQ")), false),
        (with(rsa.clone(), "e", json!("Ag")), false),
        (with(rsa.clone(), "e", json!("Aw")), true),
        (with(rsa.clone(), "e", json!("AwAAAAE")), false),
        (with(rsa, "e", json!("")), false),
        (with(ec.clone(), "alg", json!("ES256")), true),
        (with(ec.clone(), "alg", json!("ES384")), false),
        (with(ec.clone(), "crv", json!("P-384")), false),
        (with(ec.clone(), "crv", Value::Null), false),
        (with(ec.clone(), "x", json!("AQ")), false),
        (with(ec, "y", Value::Null), false),
        (json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "AQ"}), false),
        (json!({}), false),
        (json!("key"), false),
        (json!(null), false),
    ];
    let other = Signer::other_rsa().jwk("other");
    for (jwk, usable) in cases {
        let alone = if usable { Ok(1) } else { Err(KeySetError::NoneUsable) };
        assert_eq!(parsed(std::slice::from_ref(&jwk)).map(|ids| ids.len()), alone, "{jwk}");
        assert_eq!(parsed(&[jwk.clone(), other.clone()]).map(|ids| ids.len()), Ok(1 + usize::from(usable)), "{jwk}");
    }
}

#[test]
fn ids_are_listed_in_order_and_twice_the_same_is_refused() {
    let (rsa, ec) = (Signer::rsa(), Signer::ec());
    assert_eq!(parsed(&[rsa.jwk("b"), ec.jwk("a")]), Ok(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(parsed(&[rsa.jwk("a"), ec.jwk("a")]), Err(KeySetError::Duplicate));
    assert_eq!(parsed(&[rsa.jwk("a"), rsa.jwk("a")]), Err(KeySetError::Duplicate));
}

#[test]
fn private_and_symmetric_keys_are_not_taken() {
    let rsa = Signer::rsa().jwk("a");
    assert_eq!(parsed(&[with(rsa.clone(), "d", json!("AQ"))]), Err(KeySetError::Private));
    assert_eq!(parsed(&[rsa, json!({"kty": "oct", "kid": "b", "k": "AQ"})]), Err(KeySetError::Private));
}

#[test]
fn what_is_no_set_is_refused() {
    for text in ["", "{}", "[]", "{\"keys\":{}}", "{\"keys\":1}", "null", "{\"keys\":[]", "-----BEGIN PUBLIC KEY-----"] {
        assert_eq!(KeySet::parse(text).err(), Some(KeySetError::Form), "{text}");
    }
    assert_eq!(parsed(&[]), Err(KeySetError::NoneUsable));
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(KeySet::parse(&deep).err(), Some(KeySetError::Form));
}

#[test]
fn a_point_off_the_curve_verifies_nothing() {
    let signer = Signer::ec();
    let jwk = with(signer.jwk("a"), "y", json!(URL_SAFE_NO_PAD.encode([1; 32])));
    let token = signer.sound("a", &claims());
    assert_eq!(set(&[jwk]).verify(&token, &expect()).err(), Some(JwtError::Signature));
}

use super::*;

#[test]
fn headers_that_ask_for_something_else_are_refused() {
    let (rsa, ec, stranger) = (Signer::rsa(), Signer::ec(), Signer::other_rsa());
    let keys = set(&[rsa.jwk("rsa"), ec.jwk("ec")]);
    #[rustfmt::skip]
    let cases = [
        // Signed by the key that is named.
        (&rsa, json!({"alg": "RS256", "kid": "rsa", "typ": "JWT"}), None),
        (&rsa, json!({"alg": "RS256", "kid": "rsa", "jku": "https://evil", "x": 1}), None),
        (&rsa, json!({"alg": "none", "kid": "rsa"}), Some(JwtError::Malformed)),
        (&rsa, json!({"alg": "None", "kid": "rsa"}), Some(JwtError::Malformed)),
        (&rsa, json!({"alg": "rs256", "kid": "rsa"}), Some(JwtError::Malformed)),
        (&rsa, json!({"alg": "", "kid": "rsa"}), Some(JwtError::Malformed)),
        (&rsa, json!({"kid": "rsa"}), Some(JwtError::Malformed)),
        (&rsa, json!({"alg": "RS384", "kid": "rsa"}), Some(JwtError::Algorithm)),
        (&rsa, json!({"alg": "PS256", "kid": "rsa"}), Some(JwtError::Algorithm)),
        (&rsa, json!({"alg": "ES256", "kid": "rsa"}), Some(JwtError::Algorithm)),
        (&rsa, json!({"alg": "HS256", "kid": "rsa"}), Some(JwtError::Algorithm)),
        (&rsa, json!({"alg": "EdDSA", "kid": "rsa"}), Some(JwtError::Algorithm)),
        (&rsa, json!({"alg": "RS256", "kid": "rsa", "crit": ["exp"], "exp": 1}), Some(JwtError::Malformed)),
        (&rsa, json!({"alg": "RS256", "kid": "rsa", "crit": []}), Some(JwtError::Malformed)),
        (&rsa, json!({"alg": "RS256", "kid": "rsa", "zip": "DEF"}), Some(JwtError::Malformed)),
        (&rsa, json!({"alg": "RS256", "kid": "rsa", "enc": "A256GCM"}), Some(JwtError::Malformed)),
        (&rsa, json!({"alg": "RS256", "kid": "rsa", "typ": "at+jwt"}), Some(JwtError::Malformed)),
        (&rsa, json!({"alg": "RS256"}), Some(JwtError::UnknownKey)),
        (&rsa, json!({"alg": "RS256", "kid": ""}), Some(JwtError::UnknownKey)),
        (&rsa, json!({"alg": "RS256", "kid": "RSA"}), Some(JwtError::UnknownKey)),
        (&rsa, json!({"alg": "RS256", "kid": 1}), Some(JwtError::Malformed)),
        // The key of one algorithm named by a token of the other.
        (&rsa, json!({"alg": "RS256", "kid": "ec"}), Some(JwtError::Algorithm)),
        (&rsa, json!({"alg": "ES256", "kid": "ec"}), Some(JwtError::Signature)),
        (&ec, json!({"alg": "ES256", "kid": "rsa"}), Some(JwtError::Algorithm)),
        (&ec, json!({"alg": "RS256", "kid": "rsa"}), Some(JwtError::Signature)),
        // Another's signature under our name, with the key sent along.
        (&stranger, json!({"alg": "RS256", "kid": "rsa"}), Some(JwtError::Signature)),
        (&stranger, json!({"alg": "RS256", "kid": "rsa", "jwk": stranger.jwk("rsa")}), Some(JwtError::Signature)),
        (&stranger, json!({"alg": "RS256", "kid": "stranger"}), Some(JwtError::UnknownKey)),
    ];
    for (signer, header, error) in cases {
        assert_eq!(keys.verify(&signer.token(&header, &claims()), &expect()).err(), error, "{header}");
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let signer = Signer::rsa();
    let keys = set(&[signer.jwk("one")]);
    let Signer::Rsa(key) = &signer else { unreachable!() };
    let der = key.public().as_ref().to_vec();
    let PublicKeyComponents::<Vec<u8>> { n, .. } = key.public().into();
    let jwk = signer.jwk("one").to_string().into_bytes();
    for secret in [der, n, jwk] {
        let message = format!("{}.{}", part(&json!({"alg": "HS256", "kid": "one"})), part(&claims()));
        let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret), message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
        assert_eq!(keys.verify(&token, &expect()).err(), Some(JwtError::Algorithm));
    }
}

#[test]
fn a_token_has_three_parts_and_no_more_than_its_limit() {
    let signer = Signer::rsa();
    let keys = set(&[signer.jwk("one")]);
    let sound = signer.sound("one", &claims());
    let parts: Vec<_> = sound.split('.').collect();
    let (header, body, signature) = (parts[0], parts[1], parts[2]);
    for token in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        header.to_owned(),
        format!("{header}.{body}"),
        format!("{header}.{body}."),
        format!(".{body}.{signature}"),
        format!("{header}..{signature}"),
        format!("{sound}."),
        format!("{sound}.{signature}"),
        format!("{sound}="),
        format!(" {sound}"),
        format!("{sound}\n"),
    ] {
        assert_eq!(keys.verify(&token, &expect()).err(), Some(JwtError::Malformed), "{token:?}");
        assert!(token.len() > sound.len() || issuer_unverified(&token).is_none());
    }

    let padded = |header: usize, body: usize| {
        let header = json!({"alg": "RS256", "kid": "one", "x": "x".repeat(header)});
        signer.token(&header, &claims_with("/x", json!("x".repeat(body))))
    };
    let base = padded(0, 0).len();
    let of_length = |length: usize| {
        let body = (length - base) * 3 / 4 - 8;
        let found = (0..16).flat_map(|header| (body..body + 8).map(move |body| padded(header, body))).find(|x| x.len() == length);
        found.unwrap()
    };
    assert_eq!(keys.verify(&of_length(SERVICE_ACCOUNT_TOKEN_BYTES_MAX), &expect()).err(), None);
    let longer = of_length(SERVICE_ACCOUNT_TOKEN_BYTES_MAX + 1);
    assert_eq!(keys.verify(&longer, &expect()).err(), Some(JwtError::TooLong));
    assert_eq!(issuer_unverified(&longer), None);
}

#[test]
fn a_claim_that_is_there_twice_is_refused() {
    let signer = Signer::rsa();
    let keys = set(&[signer.jwk("one")]);
    let header = part(&json!({"alg": "RS256", "kid": "one"}));
    for twice in [r#""iss":"x","#, r#""sub":"x","#, r#""aud":["x"],"#, r#""exp":1,"#, r#""kubernetes.io":{},"#] {
        let body = claims().to_string().replacen('{', &format!("{{{twice}"), 1);
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(body));
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signer.sign(&message)));
        assert_eq!(keys.verify(&token, &expect()).err(), Some(JwtError::Claims), "{twice}");
    }
}

/// SplitMix64: the same mutations each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 32).unwrap() % bound
    }
}

fn mutated(token: &str, other: &str, random: &mut Random) -> Option<String> {
    let mut bytes = token.as_bytes().to_vec();
    match random.below(7) {
        0 => bytes[random.below(token.len())] ^= 1 << random.below(7),
        1 => bytes[random.below(token.len())] = b"ABCxyz019-_.=~ "[random.below(15)],
        2 => bytes.truncate(random.below(token.len())),
        3 => drop(bytes.remove(random.below(token.len()))),
        4 => bytes.insert(random.below(token.len() + 1), b"Aa0_-.="[random.below(7)]),
        5 => {
            let (a, b) = (random.below(token.len()), random.below(token.len()));
            bytes.swap(a, b);
        }
        _ => {
            let (mut ours, theirs): (Vec<_>, Vec<_>) = (token.split('.').collect(), other.split('.').collect());
            ours[random.below(3)] = theirs[random.below(3)];
            bytes = ours.join(".").into_bytes();
        }
    }
    String::from_utf8(bytes).ok().filter(|changed| changed != token && changed != other)
}

#[test]
fn none_of_ten_thousand_mutations_is_believed() {
    let (rsa, ec, stranger) = (Signer::rsa(), Signer::ec(), Signer::other_rsa());
    let keys = set(&[rsa.jwk("rsa"), ec.jwk("ec")]);
    let longer = claims_with("/exp", json!(NOW + 6_000));
    let pairs = [
        (rsa.sound("rsa", &claims()), rsa.sound("rsa", &longer)),
        (ec.sound("ec", &claims()), ec.sound("ec", &longer)),
        (rsa.sound("rsa", &claims()), ec.sound("ec", &longer)),
        (rsa.sound("rsa", &claims()), stranger.sound("rsa", &longer)),
    ];
    let mut random = Random(7);
    let mut tried = 0;
    while tried < 10_000 {
        let (token, other) = &pairs[random.below(pairs.len())];
        assert!(tried % 1_000 != 0 || keys.verify(token, &expect()).is_ok());
        if let Some(changed) = mutated(token, other, &mut random) {
            assert!(keys.verify(&changed, &expect()).is_err(), "{changed}");
            tried += 1;
        }
    }
}

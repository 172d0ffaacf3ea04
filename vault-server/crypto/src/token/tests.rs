use super::*;

fn sealer(kind: &'static str) -> Sealer {
    Sealer::new(&Key::from_bytes([5; 32]), kind)
}

#[test]
fn a_token_opens_to_its_claims() {
    let token = sealer("session").seal(b"claims").unwrap();
    assert!(token.expose().starts_with("coffer.session.1."));
    assert_eq!(sealer("session").open(token.expose()).unwrap().expose(), b"claims");
}

#[test]
fn claims_do_not_show_and_tokens_differ_each_time() {
    let (one, other) = (sealer("session").seal(&[0; 64]).unwrap(), sealer("session").seal(&[0; 64]).unwrap());
    assert!(!one.same(&other));
    assert!(!one.expose().contains("AAAAAAAA"));
}

#[test]
fn no_changed_bit_opens() {
    let token = sealer("session").seal(b"some claims").unwrap();
    let bytes = token.expose().as_bytes();
    for place in 0..bytes.len() * 8 {
        let mut changed = bytes.to_vec();
        changed[place / 8] ^= 1 << (place % 8);
        if let Ok(text) = std::str::from_utf8(&changed) {
            assert!(sealer("session").open(text).is_err(), "bit {place}");
        }
    }
    for length in 0..bytes.len() {
        assert!(sealer("session").open(token.expose().get(..length).unwrap()).is_err(), "cut to {length}");
    }
    for more in ["=", "==", "A", " ", "\n"] {
        assert!(sealer("session").open(&format!("{}{more}", token.expose())).is_err(), "{more:?}");
    }
}

#[test]
fn a_token_is_of_one_kind_context_and_key() {
    let token = sealer("page").seal_within(b"list kv/a", b"claims").unwrap();
    assert!(sealer("page").open_within(b"list kv/a", token.expose()).is_ok());
    assert_eq!(sealer("page").open_within(b"list kv/b", token.expose()).err(), Some(TokenError::Forged));
    assert_eq!(sealer("page").open(token.expose()).err(), Some(TokenError::Forged));
    assert_eq!(sealer("session").open_within(b"list kv/a", token.expose()).err(), Some(TokenError::Form));
    let renamed = token.expose().replacen("page", "session", 1);
    assert_eq!(sealer("session").open_within(b"list kv/a", &renamed).err(), Some(TokenError::Forged));
    let other_vault = Sealer::new(&Key::from_bytes([6; 32]), "page");
    assert_eq!(other_vault.open_within(b"list kv/a", token.expose()).err(), Some(TokenError::Forged));
}

#[test]
fn a_token_is_no_longer_than_its_limit() {
    let (mut fits, mut fails) = (0, 0);
    for length in 6_050..6_150 {
        match sealer("session").seal(&vec![1; length]) {
            Ok(token) => {
                assert!(token.len() <= TOKEN_CHARS_MAX);
                assert_eq!(sealer("session").open(token.expose()).unwrap().len(), length);
                fits = length;
            }
            Err(error) => {
                assert_eq!(error, SealTokenError::TooLong);
                fails += 1;
            }
        }
    }
    assert!(fits > 6_050 && fails > 0);
    let long = format!("coffer.session.1.{}", "A".repeat(TOKEN_CHARS_MAX));
    assert_eq!(sealer("session").open(&long).err(), Some(TokenError::Form));
}

//! Verifiers of passwords as PostgreSQL keeps them: SCRAM-SHA-256 (RFC 5802, RFC 7677). Who has one can check the password and
//! cannot log in with it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_secret::SecretString;
use pbkdf2::pbkdf2_hmac;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    hash::{self, Digest, HmacKey},
    random::{self, RandomError},
};

/// Rounds of PBKDF2: PostgreSQL's own number, and the fewest that its clients take (pgjdbc refuses fewer).
pub const ROUNDS: u32 = 4_096;

const SALT_BYTES: usize = 16;
/// Letters in a verifier.
const TEXT_BYTES: usize = 133;

/// Why a password has no verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// No salt.
    #[error("no salt")]
    Random(#[from] RandomError),
    /// The password has something besides the printable characters of ASCII, which alone SASLprep (RFC 4013) leaves as they are.
    #[error("a password with more than the printable characters of ASCII")]
    Password,
}

/// The verifier of a password, with a new salt: `SCRAM-SHA-256$4096:SALT$STORED-KEY:SERVER-KEY`.
///
/// # Errors
/// [`VerifierError`].
pub fn verifier(password: &SecretString) -> Result<SecretString, VerifierError> {
    let password = password.expose().as_bytes();
    if !password.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(VerifierError::Password);
    }
    Ok(salted_verifier(password, &random::bytes()?))
}

fn salted_verifier(password: &[u8], salt: &[u8; SALT_BYTES]) -> SecretString {
    let salted = HmacKey::new(&*salted_password(password, salt));
    let client_key = Zeroizing::new(salted.tag(b"Client Key"));
    let stored_key = Zeroizing::new(hash::sha256(&*client_key));
    let server_key = Zeroizing::new(salted.tag(b"Server Key"));
    // As long as it gets: none is left behind by growing.
    let mut text = String::with_capacity(TEXT_BYTES);
    text.push_str("SCRAM-SHA-256$4096:");
    STANDARD.encode_string(salt, &mut text);
    text.push('$');
    STANDARD.encode_string(stored_key.as_slice(), &mut text);
    text.push(':');
    STANDARD.encode_string(server_key.as_slice(), &mut text);
    SecretString::from(text)
}

fn salted_password(password: &[u8], salt: &[u8; SALT_BYTES]) -> Zeroizing<Digest> {
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2_hmac::<Sha256>(password, salt, ROUNDS, &mut *salted);
    salted
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

    fn of(password: &str) -> String {
        let salt = STANDARD.decode(SALT).unwrap().try_into().unwrap();
        salted_verifier(password.as_bytes(), &salt).expose().to_owned()
    }

    /// The exchange of RFC 7677, section 3: with the keys of the verifier the server knows the client, and is known by it.
    #[test]
    fn a_server_that_has_the_verifier_understands_the_exchange_of_rfc_7677() {
        let verifier = of("pencil");
        let (stored, server) = verifier.strip_prefix(&format!("SCRAM-SHA-256$4096:{SALT}$")).unwrap().split_once(':').unwrap();
        let [stored, server] = [stored, server].map(|key| STANDARD.decode(key).unwrap());
        let nonces = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let said = format!("n=user,r=rOprNGfwEbeRWgbNEkqO,{nonces},s={SALT},i=4096,c=biws,{nonces}");
        let signature = HmacKey::new(&server).tag(said.as_bytes());
        assert_eq!(STANDARD.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let blind = HmacKey::new(&stored).tag(said.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(blind).map(|(proof, blind)| proof ^ blind).collect();
        assert_eq!(hash::sha256(&client_key).as_slice(), stored);
    }

    /// Made with Python's hashlib.
    #[test]
    fn a_password_longer_than_a_block_is_hashed_first() {
        let keys = "xjU8vAm/K02dHyJ2LSAx0+tb/ijBY94hXwdvXHfSQAU=:Zzq5ZS5wIB3rISxRyxmLfVMXMEZVc4rZ8DABfGEfjHI=";
        assert_eq!(of(&"x".repeat(100)), format!("SCRAM-SHA-256$4096:{SALT}${keys}"));
    }

    #[test]
    fn no_two_verifiers_are_alike_and_none_grows_past_its_place() {
        let password = SecretString::copied_from("the same");
        let (one, two) = (verifier(&password).unwrap(), verifier(&password).unwrap());
        assert!(!one.same(&two));
        assert_eq!((one.len(), two.len()), (TEXT_BYTES, TEXT_BYTES));
        assert!(one.expose().starts_with(&format!("SCRAM-SHA-256${ROUNDS}:")));
    }

    #[test]
    fn only_passwords_that_saslprep_leaves_as_they_are_have_a_verifier() {
        for password in ["", " ", "~", "the password 1"] {
            assert!(verifier(&SecretString::copied_from(password)).is_ok(), "{password}");
        }
        for password in ["\n", "a\u{7f}", "\0", "pässword", "\u{a0}"] {
            let refused = verifier(&SecretString::copied_from(password)).map(drop);
            assert_eq!(refused, Err(VerifierError::Password), "{password:?}");
        }
    }
}

//! Signed notes and their keys, of C2SP's signed-note (v1): Ed25519 only.

use std::{fmt, str::FromStr};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use coffer_crypto::{
    hash::sha256,
    sign::{PUBLIC_KEY_BYTES, PublicKey, SigningKey},
};

/// The type of signature that is an Ed25519 signature of the note's text.
const ED25519: u8 = 1;
/// Bytes in the id of a key.
const KEY_ID_BYTES: usize = 4;
/// What a line with a signature begins with: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";
/// Signatures on a note, at most: what every verifier must take.
pub const SIGNATURES_MAX: usize = 16;

/// Why a text is no verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyError {
    /// It has not the form of one.
    #[error("a verifier key is NAME+HASH+BASE64")]
    Form,
    /// It is for another type of signature.
    #[error("the verifier key is not one of Ed25519")]
    Type,
    /// Its hash is not that of its name and key: one of them was changed.
    #[error("the verifier key's hash does not fit its name and key")]
    Id,
}

/// A key that verifies notes, with its name. Written as `NAME+HASH+BASE64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: PublicKey,
}

impl VerifierKey {
    /// The key of this name. The name must be one: not empty, no white space, no `+`.
    ///
    /// # Errors
    /// [`VerifierKeyError::Form`] where it is not.
    pub fn new(name: &str, public: PublicKey) -> Result<Self, VerifierKeyError> {
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if name.is_empty() || name.contains(forbidden) {
            return Err(VerifierKeyError::Form);
        }
        Ok(Self { name: name.to_owned(), public })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    fn id(&self) -> [u8; KEY_ID_BYTES] {
        let mut hashed = self.name.clone().into_bytes();
        hashed.extend([b'\n', ED25519]);
        hashed.extend(self.public.as_bytes());
        let mut id = [0; KEY_ID_BYTES];
        id.iter_mut().zip(sha256(&hashed)).for_each(|(id, byte)| *id = byte);
        id
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[ED25519], self.public.as_bytes().as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), BASE64_STANDARD.encode(typed))
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VerifierKeyError::Form);
        };
        let typed = BASE64_STANDARD.decode(key).map_err(|_| VerifierKeyError::Form)?;
        let (kind, public) = typed.split_first().ok_or(VerifierKeyError::Form)?;
        if *kind != ED25519 {
            return Err(VerifierKeyError::Type);
        }
        let public: [u8; PUBLIC_KEY_BYTES] = public.try_into().map_err(|_| VerifierKeyError::Form)?;
        let key = Self::new(name, PublicKey::from_bytes(public))?;
        if hex::encode(key.id()) == id { Ok(key) } else { Err(VerifierKeyError::Id) }
    }
}

/// Why a note is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It has not the form of a signed note.
    #[error("this is not a signed note")]
    Form,
    /// The key did not sign it.
    #[error("the note has no signature of the key")]
    Unsigned,
    /// A signature in the key's name is not one of the key over this text.
    #[error("the note's signature does not fit its text: one of them was changed")]
    Signature,
}

/// The note of this text, which must end in a newline, signed under `name`.
///
/// # Errors
/// [`VerifierKeyError::Form`] where the name is not one.
pub fn sign(text: &str, name: &str, key: &SigningKey) -> Result<String, VerifierKeyError> {
    let verifier = VerifierKey::new(name, *key.public_key())?;
    let signature = [verifier.id().as_slice(), &key.sign(text.as_bytes())].concat();
    Ok(format!("{text}\n{SIGNATURE_PREFIX}{name} {}\n", BASE64_STANDARD.encode(signature)))
}

/// The text of a note that the key signed. Signatures of other keys are ignored.
///
/// # Errors
/// Where it is not a note, or the key's signature is not there or does not fit.
pub fn open<'a>(note: &'a str, key: &VerifierKey) -> Result<&'a str, NoteError> {
    if note.contains(|c: char| c.is_ascii_control() && c != '\n') {
        return Err(NoteError::Form);
    }
    let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
    let text = note.get(..=text.len()).ok_or(NoteError::Form)?;
    let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Form)?;
    let mut signed = false;
    for (number, line) in signatures.split('\n').enumerate() {
        let parts = line.strip_prefix(SIGNATURE_PREFIX).and_then(|line| line.split_once(' '));
        let (name, signature) = parts.filter(|_| number < SIGNATURES_MAX).ok_or(NoteError::Form)?;
        let signature = BASE64_STANDARD.decode(signature).map_err(|_| NoteError::Form)?;
        let (id, signature) = signature.split_at_checked(KEY_ID_BYTES).ok_or(NoteError::Form)?;
        if name == key.name && id == key.id() {
            key.public.verify(text.as_bytes(), signature).map_err(|_| NoteError::Signature)?;
            signed = true;
        }
    }
    if signed { Ok(text) } else { Err(NoteError::Unsigned) }
}

#[cfg(test)]
mod tests {
    use coffer_secret::SecretArray;

    use super::*;

    /// From the tests of golang.org/x/mod/sumdb/note.
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SIGNER: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const SIGNATURE: &str =
        "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const OTHER: &str =
        "\u{2014} EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";
    /// The example of C2SP's signed-note.
    const SPEC_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const SPEC_NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
                             Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    fn note() -> String {
        format!("{TEXT}\n{SIGNATURE}")
    }

    #[test]
    fn published_notes_open_and_published_keys_sign_them() {
        let seed: [u8; 32] = BASE64_STANDARD.decode(SIGNER).unwrap()[1..].try_into().unwrap();
        let signer = SigningKey::from_seed(SecretArray::copied_from(&seed));
        assert_eq!(sign(TEXT, "PeterNeumann", &signer).unwrap(), note());
        assert_eq!(VerifierKey::new("PeterNeumann", *signer.public_key()).unwrap().to_string(), KEY);
        assert_eq!(open(&note(), &KEY.parse().unwrap()), Ok(TEXT));
        assert_eq!(open(SPEC_NOTE, &SPEC_KEY.parse().unwrap()), Ok("This is an example message.\n"));
    }

    #[test]
    fn signatures_of_others_are_ignored_up_to_a_number() {
        let key = KEY.parse().unwrap();
        assert_eq!(open(&format!("{TEXT}\n{OTHER}{SIGNATURE}"), &key), Ok(TEXT));
        assert_eq!(open(&format!("{TEXT}\n{OTHER}"), &key), Err(NoteError::Unsigned));
        assert_eq!(open(&format!("{TEXT}\n{}{SIGNATURE}", OTHER.repeat(SIGNATURES_MAX - 1)), &key), Ok(TEXT));
        assert_eq!(open(&format!("{TEXT}\n{}{SIGNATURE}", OTHER.repeat(SIGNATURES_MAX)), &key), Err(NoteError::Form));
    }

    #[test]
    fn a_note_of_another_form_is_refused() {
        let key = KEY.parse().unwrap();
        let note = note();
        for changed in [
            String::new(),
            TEXT.to_owned(),
            format!("{TEXT}{SIGNATURE}"),
            note.trim_end().to_owned(),
            note.replace('\u{2014}', "-"),
            format!("{note}\n"),
            note.replace("is the", "is\tthe"),
        ] {
            assert!(open(&changed, &key).is_err(), "{changed}");
        }
        assert_eq!(open(&note.replace("think", "thank"), &key), Err(NoteError::Signature));
        assert_eq!(open(&note.replace("x08go/Z", "x08go/Y"), &key), Err(NoteError::Signature));
    }

    #[test]
    fn no_part_and_no_change_of_a_verifier_key_is_one() {
        assert_eq!(KEY.parse::<VerifierKey>().unwrap().to_string(), KEY);
        for from in 0..KEY.len() {
            for to in from..=KEY.len() {
                assert!(
                    (from, to) == (0, KEY.len()) || KEY.get(from..to).unwrap().parse::<VerifierKey>().is_err(),
                    "{from}..{to}"
                );
            }
            let mut changed = KEY.to_owned().into_bytes();
            changed[from] += 1;
            assert!(String::from_utf8(changed).unwrap().parse::<VerifierKey>().is_err(), "{from}");
        }
        for text in [
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        ] {
            assert!(text.parse::<VerifierKey>().is_err(), "{text}");
        }
    }
}

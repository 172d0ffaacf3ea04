//! Immutable identifiers: 128 random bits, written as 32 lower-case hexadecimal digits.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The text is not 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 lower-case hexadecimal digits")]
pub struct IdError;

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $name:ident),* $(,)?) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// An id of these bytes, which the caller drew at random.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The id's bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(std::str::from_utf8(&digits(&self.0)).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
    )*};
}

ids! {
    /// A vault: drawn at Init, part of everything that must not be mistaken for another vault's.
    VaultId,
    /// A tenant.
    TenantId,
    /// A mount of an engine.
    MountId,
    /// A registered cluster.
    ClusterId,
    /// A secret of the kv engine: a name that is destroyed and made again has another.
    SecretId,
    /// An issuer of the pki engine: one that is deleted and made again under the same name is another.
    IssuerId,
    /// A session.
    SessionId,
    /// A grant.
    GrantId,
    /// A signer of verdicts on images.
    SignerId,
    /// A lease of a credential.
    LeaseId,
    /// An operator.
    OperatorId,
    /// One request, and its records.
    RequestId,
}

/// Sixteen bytes as hexadecimal digits. Every request writes several ids: one call, rather than one a byte, is noticed.
fn digits(bytes: &[u8; 16]) -> [u8; 32] {
    const fn digit(nibble: u8) -> u8 {
        if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
    }
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    digits
}

fn parse(text: &str) -> Result<[u8; 16], IdError> {
    let mut bytes = [0; 16];
    let digits = text.as_bytes();
    if digits.len() != 2 * bytes.len() {
        return Err(IdError);
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return Err(IdError),
            };
            *byte = *byte << 4 | value;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_what_it_writes() {
        let id = SecretId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn only_lower_case_digits_of_the_right_number_are_an_id() {
        for text in ["", "00", &"g".repeat(32), &"A".repeat(32), &"0".repeat(31), &"0".repeat(33)] {
            assert_eq!(text.parse::<SecretId>(), Err(IdError), "{text}");
        }
    }
}

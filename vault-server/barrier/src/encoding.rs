//! Records as CBOR (RFC 8949), without leaving copies of secrets behind.
//!
//! Structures are maps with text keys. A field added later has `#[serde(default)]`; an unknown one is refused
//! (`#[serde(deny_unknown_fields)]`), so that an older program never drops what a newer one wrote.

use std::{fmt, io};

use coffer_secret::SecretBytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned, Visitor},
};
use zeroize::Zeroizing;

/// The bytes are not the encoding of such a record, or the record cannot be encoded. Says nothing of what was found,
/// which may be secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the encoding of such a record")]
pub struct EncodingError;

/// The encoding of a record, made in one buffer of the right size.
pub fn encode<T: Serialize + ?Sized>(record: &T) -> Result<SecretBytes, EncodingError> {
    let mut length = Length(0);
    ciborium::into_writer(record, &mut length).map_err(|_| EncodingError)?;
    let mut buffer = Buffer(SecretBytes::with_capacity(length.0));
    ciborium::into_writer(record, &mut buffer).map_err(|_| EncodingError)?;
    Ok(buffer.0)
}

/// The record of an encoding, all of which must be used. The buffer in between is wiped.
pub fn decode<T: DeserializeOwned>(encoding: &[u8]) -> Result<T, EncodingError> {
    let mut rest = encoding;
    let mut scratch = Zeroizing::new(vec![0; encoding.len()]);
    let record = ciborium::de::from_reader_with_buffer(&mut rest, &mut scratch).map_err(|_| EncodingError)?;
    if rest.is_empty() { Ok(record) } else { Err(EncodingError) }
}

struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Buffer(SecretBytes);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Secret bytes in a record. Only for records that go through the barrier.
#[derive(Debug)]
pub struct SecretField(pub SecretBytes);

impl Serialize for SecretField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for SecretField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = SecretField;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<SecretField, E> {
                Ok(SecretField(SecretBytes::copied_from(bytes)))
            }
        }

        // Not `deserialize_byte_buf`, which grows a buffer and leaves its smaller ones behind.
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Old {
        name: String,
        value: SecretField,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct New {
        name: String,
        value: SecretField,
        #[serde(default)]
        more: u32,
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        for length in [0, 1, 5_000, 1 << 20] {
            let old = Old { name: "n".into(), value: SecretField(SecretBytes::from(vec![7; length])) };
            let read: New = decode(encode(&old).unwrap().expose()).unwrap();
            assert!(read.value.0.same(&old.value.0) && read.name == "n" && read.more == 0);
        }
    }

    #[test]
    fn what_is_not_all_of_such_a_record_is_refused_without_a_word_of_it() {
        let new = New { name: "n".into(), value: SecretField(SecretBytes::copied_from(b"canary")), more: 1 };
        let encoded = encode(&new).unwrap();
        let unknown: Result<Old, _> = decode(encoded.expose());
        assert_eq!(unknown.err().unwrap().to_string(), "not the encoding of such a record");
        for length in 0..encoded.len() {
            assert!(decode::<New>(encoded.expose().get(..length).unwrap()).is_err());
        }
        assert!(decode::<New>(&[encoded.expose(), &[0]].concat()).is_err());
        assert!(decode::<Vec<SecretField>>(encode(&["text"]).unwrap().expose()).is_err());
    }

    #[test]
    fn a_length_that_is_a_lie_takes_no_memory() {
        // A byte string, a text and an array of 2^62 each.
        for head in [0x5b, 0x7b, 0x9b] {
            let lie = [&[head], (1_u64 << 62).to_be_bytes().as_slice()].concat();
            assert!(decode::<SecretField>(&lie).is_err() && decode::<String>(&lie).is_err() && decode::<Vec<u8>>(&lie).is_err());
        }
    }
}

//! How a node's facts are sent to a vault: as bytes that were signed. The vault and the node agent have this from one place, for a byte more on one
//! side would be a signature that never holds.

/// Bytes of a node's facts, at most: what has more is not sent, and not taken.
pub const FACTS_BYTES_MAX: usize = 256 << 10;
/// What a node's facts are signed as, so that no signature over anything else counts as one over them.
const DOMAIN: &[u8] = b"coffer/v1/posture\0";

/// What is signed of facts. The session's id was drawn by the vault, and the number grows with each report of a session: a report that is sent
/// again, or in another session, is none.
#[must_use]
pub fn signed_bytes(session: &[u8; 16], sequence: u64, gathered_ms: u64, facts: &[u8]) -> Vec<u8> {
    [DOMAIN, session, &sequence.to_be_bytes(), &gathered_ms.to_be_bytes(), facts].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_signed_at_a_place_of_its_own() {
        let bytes = signed_bytes(&[7; 16], 1, 2, b"{}");
        assert_eq!(bytes.len(), DOMAIN.len() + 16 + 8 + 8 + 2);
        let others = [
            signed_bytes(&[8; 16], 1, 2, b"{}"),
            signed_bytes(&[7; 16], 2, 2, b"{}"),
            signed_bytes(&[7; 16], 2, 1, b"{}"),
            signed_bytes(&[7; 16], 1, 2, b"[]"),
        ];
        for (at, other) in others.iter().enumerate() {
            assert!(*other != bytes && !others[at + 1..].contains(other));
        }
    }
}

//! Checksums in tokens.

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of the checksum, at a token's end.
const CHECKSUM_CHARS: usize = 6;

/// Whether the last six characters of GitHub's or npm's token are the CRC-32 of the 30 before, in base 62.
pub(crate) fn github(token: &[u8]) -> bool {
    let Some(underscore) = token.iter().position(|byte| *byte == b'_') else { return false };
    let Some(body) = token.get(underscore + 1..) else { return false };
    let Some((random, checksum)) = body.len().checked_sub(CHECKSUM_CHARS).and_then(|at| body.split_at_checked(at)) else {
        return false;
    };
    let mut rest = crc32fast::hash(random);
    let mut expected = [b'0'; CHECKSUM_CHARS];
    for place in expected.iter_mut().rev() {
        *place = BASE62.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    checksum == expected
}

/// A token with the checksum that it must have, for tests.
#[cfg(test)]
pub(crate) fn github_token(prefix: &str, random: &str) -> String {
    let mut rest = crc32fast::hash(random.as_bytes());
    let mut checksum = Vec::new();
    for _ in 0..CHECKSUM_CHARS {
        checksum.push(BASE62[(rest % 62) as usize]);
        rest /= 62;
    }
    checksum.reverse();
    format!("{prefix}{random}{}", String::from_utf8(checksum).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_whose_checksum_is_another_is_none() {
        let token = github_token("ghp_", "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ");
        assert!(github(token.as_bytes()));
        assert!(!github(b"ghp_"));
        assert!(!github(b""));
    }
}

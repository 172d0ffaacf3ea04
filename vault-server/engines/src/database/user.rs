//! Names and passwords of users.

use coffer_core::{id::VaultId, principal::Name};
use coffer_crypto::random::{self, RandomError};
use coffer_secret::{SecretArray, SecretString};

/// Characters of a password: 62 of them 32 times are 190 bits.
const PASSWORD_CHARS: usize = 32;
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a role's name in a user's.
const ROLE_CHARS_MAX: usize = 20;
/// Digits of 64 bits, in base 36.
const UNIQUE_DIGITS: usize = 13;

/// What the names of all users begin with that this vault makes.
#[must_use]
pub fn users_prefix(vault: &VaultId) -> String {
    format!("cf{}_", vault.to_string().chars().take(8).collect::<String>())
}

/// A name for a user, of `bytes_max` bytes at most: which vault's it is, which role's, and 64 bits that are nobody else's. It
/// has a-z, 0-9 and `_`. The role's name is cut where there is no room for all of it.
pub fn user_name(vault: &VaultId, role: &Name, bytes_max: usize) -> Result<String, RandomError> {
    let vault: String = vault.to_string().chars().take(8).collect();
    let unique = base36(u64::from_be_bytes(random::bytes()?));
    let rest = format!("cf{vault}__{unique}").len();
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' };
    let role: String = role.as_str().chars().take(ROLE_CHARS_MAX.min(bytes_max.saturating_sub(rest))).map(plain).collect();
    Ok(format!("cf{vault}_{role}_{unique}"))
}

fn base36(mut number: u64) -> String {
    let mut digits = [0; UNIQUE_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = number % 36;
        number /= 36;
    }
    digits.iter().filter_map(|&digit| u32::try_from(digit).ok().and_then(|digit| char::from_digit(digit, 36))).collect()
}

/// A password of letters and digits.
pub fn new_password() -> Result<SecretString, RandomError> {
    let mut password = String::with_capacity(PASSWORD_CHARS);
    while password.len() < PASSWORD_CHARS {
        let draw: SecretArray<64> = random::array()?;
        // Draws past the last whole multiple of 62 would make some letters likelier than others.
        let letters = draw.expose().iter().filter(|&&byte| usize::from(byte) < 4 * LETTERS.len());
        for byte in letters.take(PASSWORD_CHARS - password.len()) {
            password.push(LETTERS.get(usize::from(*byte) % LETTERS.len()).copied().map_or('0', char::from));
        }
    }
    Ok(SecretString::from(password))
}

#[cfg(test)]
mod tests {
    use coffer_databases::Kind;

    use super::*;

    #[test]
    fn a_user_is_named_after_vault_and_role_and_never_twice_alike() {
        let vault = VaultId::from_bytes([0xab; 16]);
        for kind in Kind::ALL {
            let name = |role: &str| user_name(&vault, &role.parse().unwrap(), kind.user_bytes_max()).unwrap();
            let first = name("app.read-only");
            let role = if *kind == Kind::MySql { "cfabababab_app_rea_" } else { "cfabababab_app_read_only_" };
            assert!(first.starts_with(role), "{first}");
            assert_ne!(first, name("app.read-only"));
            let long = name(&"r".repeat(64));
            assert!(long.len() <= kind.user_bytes_max(), "{long}");
            assert!(long.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{long}");
            assert_eq!(long.rsplit('_').next().unwrap().len(), UNIQUE_DIGITS, "all of the 64 bits are there");
        }
    }

    #[test]
    fn sixty_four_bits_have_digits_of_their_own() {
        assert_eq!(base36(0), "0".repeat(UNIQUE_DIGITS));
        assert_eq!(base36(36 * 36 + 35), "000000000010z");
        assert_eq!(base36(u64::MAX), "3w5e11264sgsf");
        assert_eq!(u64::from_str_radix("3w5e11264sgsf", 36).unwrap(), u64::MAX);
    }

    #[test]
    fn a_password_has_32_letters_and_digits_and_all_of_them_come() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let password = new_password().unwrap();
            assert_eq!(password.len(), PASSWORD_CHARS);
            seen.extend(password.expose().chars());
        }
        assert_eq!(seen.len(), LETTERS.len());
        assert!(seen.iter().all(char::is_ascii_alphanumeric));
    }
}

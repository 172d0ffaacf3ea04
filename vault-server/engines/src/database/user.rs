//! Names and passwords of users.

use coffer_core::{id::VaultId, principal::Name};
use coffer_crypto::random::{self, RandomError};
use coffer_secret::{SecretArray, SecretString};

/// Characters of a password: 62 of them 32 times are 190 bits.
const PASSWORD_CHARS: usize = 32;
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a role's name in a user's.
const ROLE_CHARS_MAX: usize = 20;

/// What the names of all users begin with that this vault makes.
#[must_use]
pub fn users_prefix(vault: &VaultId) -> String {
    format!("cf{}_", vault.to_string().chars().take(8).collect::<String>())
}

/// A name for a user: which vault's it is, which role's, and 64 bits that are nobody else's. It has a-z, 0-9 and `_`, 40
/// bytes at most.
pub fn user_name(vault: &VaultId, role: &Name) -> Result<String, RandomError> {
    let vault: String = vault.to_string().chars().take(8).collect();
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' };
    let role: String = role.as_str().chars().take(ROLE_CHARS_MAX).map(plain).collect();
    let unique = u64::from_be_bytes(random::bytes()?);
    Ok(format!("cf{vault}_{role}_{unique:016x}").chars().take(63).collect())
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
    use super::*;

    #[test]
    fn a_user_is_named_after_vault_and_role_and_never_twice_alike() {
        let vault = VaultId::from_bytes([0xab; 16]);
        let name = |role: &str| user_name(&vault, &role.parse().unwrap()).unwrap();
        let first = name("app.read-only");
        assert!(first.starts_with("cfabababab_app_read_only_"), "{first}");
        assert_ne!(first, name("app.read-only"));
        let long = name(&"r".repeat(64));
        assert!(long.len() <= 63 && long.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{long}");
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

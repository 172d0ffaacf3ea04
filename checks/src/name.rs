//! What a name tells of its value.

/// Words of which one is in the name of what is secret, in lower case.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
    "credential",
    "_pwd",
    "_pass",
];
/// Ends of names that are of something beside it: where it is, how long it lasts.
const OTHER_ENDS: &[&str] = &["_file", "_path", "_dir", "_name", "_url", "_id", "_ttl", "_type", "_enabled"];

/// Whether the name of a variable or a setting says that its value is secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word)) && !OTHER_ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::is_secret_name;

    #[test]
    fn names_of_secrets_are_told_from_those_of_what_is_beside_them() {
        for name in ["DB_PASSWORD", " db_pass ", "GithubToken", "AWS_SECRET_ACCESS_KEY"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["PATH", "TOKEN_FILE", "SECRET_NAME", "TOKEN_TTL", "PASS"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}

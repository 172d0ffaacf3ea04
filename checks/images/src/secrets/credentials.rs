//! Passwords in addresses, and JSON web tokens.

use std::ops::Range;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};

use super::real;

/// Characters of a user's name and of a password in an address, at most, each.
const USERINFO_MAX: usize = 256;
/// Characters of a token, at most.
const JWT_MAX: usize = 8 << 10;
/// Characters before a scheme in which its header is named.
const HEADER_NAME_MAX: usize = 40;
/// Characters of a credential in a header, at least.
const HEADER_CREDENTIAL_MIN: usize = 16;
/// Characters of a command that are looked at, at most.
const COMMAND_MAX: usize = 4096;
/// Characters of a login in Base64, at most.
const LOGIN_MAX: usize = 4096;
/// Blanks between the name of a field and its value, and what is around both, at most.
const LOGIN_BLANKS_MAX: usize = 64;
/// Characters of a password in an address, at least.
const PASSWORD_MIN: usize = 6;

/// The password of the address whose scheme ends at `at`: `postgres://user:password@host`.
pub(crate) fn in_url(text: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    let rest = rest.get(..rest.len().min(2 * USERINFO_MAX + 2))?;
    let end = rest.iter().position(|byte| {
        byte.is_ascii_whitespace() || matches!(byte, b'@' | b'/' | b'"' | b'\'' | b'`' | b'<' | b'>' | b',' | 0)
    })?;
    if rest.get(end) != Some(&b'@') || !rest.get(end + 1)?.is_ascii_alphanumeric() {
        return None;
    }
    let user = rest.get(..end)?.iter().position(|byte| *byte == b':').filter(|user| *user <= USERINFO_MAX)?;
    let password = rest.get(user + 1..end).filter(|password| (PASSWORD_MIN..=USERINFO_MAX).contains(&password.len()))?;
    let is_real = !real::is_placeholder(password)
        && real::entropy(password) >= 2.0
        && !matches!(password.first(), Some(b'$' | b'%' | b'{' | b'['))
        && !password.eq_ignore_ascii_case(b"password")
        && !password.eq_ignore_ascii_case(b"passwd");
    is_real.then_some(at + user + 1..at + end)
}

/// The JSON web token that begins at `at`: three parts, of which the first says how it is signed.
pub(crate) fn jwt(text: &[u8], at: usize) -> Option<Range<usize>> {
    let before = at.checked_sub(1).and_then(|at| text.get(at));
    if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return None;
    }
    let rest = text.get(at..)?;
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let length = rest.iter().take(JWT_MAX + 1).take_while(|byte| is_part(byte)).count();
    let token = rest.get(..length).filter(|_| length <= JWT_MAX)?;
    let mut parts = token.split(|byte| *byte == b'.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let object = |part: &[u8]| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes).ok()
    };
    let header = object(header)?;
    let is_signed = header.contains_key("alg") && signature.len() >= 32 && parts.next().is_none();
    (is_signed && !object(claims)?.is_empty()).then_some(at..at + length)
}

/// The credential whose scheme is at `scheme` in a header `Authorization: Bearer ...`.
pub(crate) fn in_header(text: &[u8], scheme: Range<usize>) -> Option<Range<usize>> {
    let line = text.get(..scheme.start)?.rsplit(|byte| *byte == b'\n').next()?;
    let line = line.get(line.len().saturating_sub(HEADER_NAME_MAX)..)?.to_ascii_lowercase();
    memchr::memmem::find(&line, b"authorization")?;
    let is_credential =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'/' | b'=' | b'~');
    let length = text.get(scheme.end..)?.iter().take(JWT_MAX + 1).take_while(|byte| is_credential(byte)).count();
    let credential = text.get(scheme.end..scheme.end + length)?;
    let is_real = (HEADER_CREDENTIAL_MIN..=JWT_MAX).contains(&length)
        && credential.iter().any(u8::is_ascii_digit)
        && real::entropy(credential) >= 3.0
        && !real::is_placeholder(credential);
    is_real.then_some(scheme.end..scheme.end + length)
}

/// The password that a command `curl` is given with `-u` or `--user`, in the line that goes on at `at`.
pub(crate) fn for_curl(text: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    let rest = rest.get(..rest.len().min(COMMAND_MAX))?;
    let end = rest
        .iter()
        .enumerate()
        .position(|(at, byte)| *byte == b'\n' && at.checked_sub(1).and_then(|at| rest.get(at)) != Some(&b'\\'));
    let line = rest.get(..end.unwrap_or(rest.len()))?;
    let option = [&b" -u "[..], b" --user ", b" --user=", b" -u\"", b" -u'"].iter().find_map(|option| {
        let at = memchr::memmem::find(line, option)?;
        Some(at + option.len())
    });
    // The first option may stand just behind the command.
    let option =
        option.or_else(|| [&b"-u "[..], b"--user "].iter().find(|option| line.starts_with(option)).map(|option| option.len()))?;
    let value = line.get(option..)?;
    let blank = value.iter().take_while(|byte| matches!(byte, b' ' | b'"' | b'\'')).count();
    let value = value.get(blank..)?;
    let length = value.iter().position(|byte| matches!(byte, b' ' | b'"' | b'\n')).unwrap_or(value.len());
    let user = value.get(..length)?.iter().position(|byte| *byte == b':')?;
    let password = value.get(user + 1..length)?;
    let is_real = (PASSWORD_MIN..=USERINFO_MAX).contains(&password.len())
        && !real::is_placeholder(password)
        && !matches!(password.first(), Some(b'$' | b'<' | b'{'))
        && !password.to_ascii_lowercase().starts_with(b"pass");
    let begin = at + option + blank + user + 1;
    is_real.then_some(begin..begin + password.len())
}

/// The login in Base64 that is the value of the JSON field whose name ends at `at`: `"auth": "dXNlcjpwYXNzd29yZA=="`, as Docker keeps it.
pub(crate) fn in_login(text: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    let rest = rest.get(..rest.len().min(LOGIN_MAX + LOGIN_BLANKS_MAX))?;
    let blanks = |from: usize| Some(from + rest.get(from..)?.iter().take_while(|byte| byte.is_ascii_whitespace()).count());
    let colon = blanks(0).filter(|colon| rest.get(*colon) == Some(&b':'))?;
    let quote = blanks(colon + 1).filter(|quote| rest.get(*quote) == Some(&b'"'))?;
    let value = rest.get(quote + 1..)?;
    let value = value.get(..value.iter().position(|byte| *byte == b'"')?).filter(|value| value.len() <= LOGIN_MAX)?;
    let login = BASE64_STANDARD.decode(value).ok()?;
    let user = login.iter().position(|byte| *byte == b':').filter(|user| *user > 0)?;
    let is_real = login.iter().all(|byte| (b' '..=b'~').contains(byte))
        && login.get(user + 1..).is_some_and(|password| password.len() >= PASSWORD_MIN && !real::is_placeholder(password));
    let begin = at + quote + 1;
    is_real.then_some(begin..begin + value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_to_registries_are_found_where_they_decode_to_one() {
        let found = |text: &str| {
            in_login(text.as_bytes(), text.find("\"auth\"").unwrap() + 6).and_then(|range| text.get(range).map(str::to_owned))
        };
        let encoded = |login: &str| BASE64_STANDARD.encode(login);
        let login = encoded("app:kX93jd82");
        for text in [format!("{{\"auth\":\"{login}\"}}"), format!("\"auth\" :\n\t\"{login}\"")] {
            assert_eq!(found(&text).as_deref(), Some(login.as_str()), "{text}");
        }
        for value in [
            "",
            "none",
            &encoded("kX93jd82kX93"),
            &encoded(":kX93jd82"),
            &encoded("app:kX93"),
            &encoded("app:changeme"),
            &encoded("a\n:kX93jd82"),
        ] {
            assert_eq!(found(&format!("\"auth\":\"{value}\"")), None, "{value}");
        }
        assert_eq!(found(&format!("\"auth\": {login}")), None);
        assert_eq!(found(&format!("\"auth\":\"{login}")), None);
        // Base64 has four characters for three: the longest that is found, and the next.
        let long =
            |count: usize| found(&format!("\"auth\":\"{}\"", encoded(&format!("app:{}", "k9".repeat(count / 2))))).is_some();
        assert!(long(LOGIN_MAX / 4 * 3 - 4) && !long(LOGIN_MAX / 4 * 3));
    }

    fn password(text: &str) -> Option<&str> {
        in_url(text.as_bytes(), text.find("://").unwrap() + 3).and_then(|range| text.get(range))
    }

    #[test]
    fn a_password_in_an_address_is_found() {
        assert_eq!(password("postgres://app:s3cr3tpw@db:5432/x"), Some("s3cr3tpw"));
        assert_eq!(password("\"redis://:s3cr3tpw@cache:6379\""), Some("s3cr3tpw"));
    }

    #[test]
    fn addresses_without_one_are_left_alone() {
        for text in [
            "https://example.com/a:b@c",
            "https://user@host/x",
            "https://user:${PASSWORD}@host",
            "https://user:password@host",
            "https://user:pw@host",
            "https://a:b c@host",
            "https://host:8080/x",
        ] {
            assert_eq!(password(text), None, "{text}");
        }
        let long = |count: usize| format!("https://u:{}@host", "a1b2c3d4".repeat(count / 8));
        assert!(password(&long(USERINFO_MAX)).is_some());
        assert!(password(&long(USERINFO_MAX + 8)).is_none());
    }

    #[test]
    fn a_token_must_be_three_parts_that_decode() {
        let signature = "c2lnbmF0dXJlIG9mIHRoaXMgdG9rZW4gaGVyZQ";
        let token = format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhcHAifQ.{signature}");
        assert_eq!(jwt(token.as_bytes(), 0), Some(0..token.len()));
        for wrong in [
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhcHAifQ.".to_owned(),
            format!("eyJhbGciOiJIUzI1NiJ9.{signature}.{signature}"),
            format!("eyJ4IjoxfQ.eyJzdWIiOiJhcHAifQ.{signature}"),
            format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhcHAifQ.{}", "a".repeat(JWT_MAX)),
        ] {
            assert_eq!(jwt(wrong.as_bytes(), 0), None, "{wrong}");
        }
    }

    #[test]
    fn headers_and_commands_that_log_in_are_found() {
        let header = |text: &str| in_header(text.as_bytes(), text.find("Bearer ").unwrap()..text.find("Bearer ").unwrap() + 7);
        assert!(header("curl -H 'Authorization: Bearer kX93jd82nQw1kX93jd82'").is_some());
        assert!(header("Authorization: Bearer ${TOKEN_OF_MINE_12345}").is_none());
        assert!(header("Authorization: Bearer kX93jd82nQw1").is_none());
        assert!(header("a sentence on Bearer kX93jd82nQw1kX93jd82").is_none());
        let command = |text: &str| for_curl(text.as_bytes(), "curl ".len()).and_then(|range| text.get(range).map(str::to_owned));
        assert_eq!(command("curl -u app:kX93jd82 https://x").as_deref(), Some("kX93jd82"));
        assert_eq!(command("curl -s \\\n --user 'app:kX93jd82' https://x").as_deref(), Some("kX93jd82'"));
        assert_eq!(command("curl -s https://x\n-u app:kX93jd82"), None);
        assert_eq!(command("curl -u app:$PASSWORD https://x"), None);
        assert_eq!(command("curl -u app https://x"), None);
    }
}

//! What users of Redis may do: rules as `ACL SETUSER` takes them, several in a statement with spaces between.

use crate::template::TemplateError;

/// What decides how a user logs in and whether: the vault's to say.
const WORDS: [&str; 5] = ["on", "off", "reset", "nopass", "resetpass"];
/// What rules of passwords begin with.
const MARKS: [char; 4] = ['>', '<', '#', '!'];

/// Checks that rules say nothing that is the vault's to say.
pub(crate) fn check(statements: &[String]) -> Result<(), TemplateError> {
    if statements.is_empty() {
        return Err(TemplateError::NoRule);
    }
    for (number, statement) in (1..).zip(statements) {
        // A selector's rules are in brackets, and can be no other than those of keys, channels and commands.
        let forbidden = |rule: &str| WORDS.iter().any(|word| word.eq_ignore_ascii_case(rule)) || rule.starts_with(MARKS);
        if rules(statement).any(forbidden) {
            return Err(TemplateError::Rule(number));
        }
    }
    Ok(())
}

/// The rules of a statement.
pub(super) fn rules(statement: &str) -> impl Iterator<Item = &str> {
    statement.split_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_says_what_a_user_may_do_and_not_how_it_logs_in() {
        let check = |rules: &[&str]| check(&rules.iter().map(|&rule| rule.to_owned()).collect::<Vec<_>>());
        for good in ["~app:*", "~app:* +@read -keys", "%R~app:* &news allkeys +@all", "(~b:* +get)", "resetkeys", "-@all +get|x"]
        {
            assert_eq!(check(&[good]), Ok(()), "{good}");
        }
        for bad in [
            "on",
            "OFF",
            "Reset",
            "nopass",
            "resetpass",
            ">secret",
            "<secret",
            "#00ff",
            "!00ff",
            "~* +@all >x",
            "~*\t+@all\nnopass",
        ] {
            assert_eq!(check(&["~app:*", bad]), Err(TemplateError::Rule(2)), "{bad}");
        }
        assert_eq!(check(&[]), Err(TemplateError::NoRule));
    }
}

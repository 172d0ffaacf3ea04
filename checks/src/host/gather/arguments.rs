//! Command lines, as programs in Go read them.

/// What a process was started with, its program first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments<'a>(pub(super) &'a [String]);

impl<'a> Arguments<'a> {
    /// The values of a flag, `--name=value` or `--name value`, in order. `_` in a name is as good as `-`.
    pub(super) fn all(self, name: &str) -> Vec<&'a str> {
        let mut values = Vec::new();
        let mut rest = self.0.iter().skip(1).map(String::as_str);
        while let Some(argument) = rest.next() {
            if argument == "--" {
                break;
            }
            match flag(argument) {
                Some((flag, value)) if is(flag, name) => values.extend(value.or_else(|| rest.clone().next())),
                _ => {}
            }
        }
        values
    }

    /// The value of a flag: the last one counts.
    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        self.all(name).last().copied()
    }

    /// The value of a switch, which has none but behind `=`; an error where it is neither true nor false.
    pub(super) fn switch(self, name: &str) -> Option<Result<bool, &'a str>> {
        let given = self.0.iter().skip(1).map(String::as_str).take_while(|argument| *argument != "--").filter_map(flag);
        let value = given.filter(|(flag, _)| is(flag, name)).last()?.1;
        Some(match value {
            None | Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
            Some(other) => Err(other),
        })
    }

    /// Entries of a flag that is a list with commas; each time that it is given adds some.
    pub(super) fn list(self, name: &str) -> Vec<&'a str> {
        self.all(name).into_iter().flat_map(|value| value.split(',')).map(str::trim).filter(|entry| !entry.is_empty()).collect()
    }
}

fn flag(argument: &str) -> Option<(&str, Option<&str>)> {
    let name = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'))?;
    Some(match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    })
}

fn is(flag: &str, name: &str) -> bool {
    flag.len() == name.len() && flag.bytes().zip(name.bytes()).all(|(a, b)| a == b || a == b'_' && b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_flag_counts_however_it_is_written() {
        let line: Vec<String> = [
            "kubelet",
            "--a=1",
            "--b",
            "2",
            "--a_b=x",
            "--a-b",
            "y",
            "-c=3",
            "--on",
            "false",
            "--off=false",
            "--wrong=maybe",
            "--",
            "--a=9",
        ]
        .map(str::to_owned)
        .into();
        let arguments = Arguments(&line);
        assert_eq!(
            (arguments.text("a"), arguments.text("b"), arguments.text("a-b"), arguments.text("c")),
            (Some("1"), Some("2"), Some("y"), Some("3"))
        );
        assert_eq!(
            (arguments.switch("on"), arguments.switch("off"), arguments.switch("none")),
            (Some(Ok(true)), Some(Ok(false)), None)
        );
        assert_eq!(arguments.switch("wrong"), Some(Err("maybe")));
        assert_eq!(arguments.text("none"), None);
    }
}

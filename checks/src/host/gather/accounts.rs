//! Who can log in: names, and nothing else of what the files have.

use super::SETTINGS_BYTES_MAX;
use crate::host::{
    Root,
    facts::{Accounts, Fact, List, Text},
};

/// Reads `/etc/passwd`, `/etc/shadow` and `/etc/group`.
pub(super) fn accounts(root: &Root) -> Accounts {
    let passwd = root.text("/etc/passwd", SETTINGS_BYTES_MAX);
    let shadow = root.text("/etc/shadow", SETTINGS_BYTES_MAX);
    let docker = match root.text("/etc/group", SETTINGS_BYTES_MAX) {
        Fact::Known(text) => {
            text.lines().find_map(|line| line.strip_prefix("docker:")).map_or(Fact::Absent, |line| Fact::Known(line.to_owned()))
        }
        Fact::Absent => Fact::unknown("there is no /etc/group"),
        Fact::Unknown(why) => Fact::Unknown(why),
    };
    let superusers = passwd.and_then(|text| List::known(names(&text, |fields| fields.get(2).is_some_and(|id| is_zero(id)))));
    // `*`, `!` and what is no hash at all let nobody in; nothing lets everybody in.
    let open =
        shadow.and_then(|text| List::known(names(&text, |fields| fields.get(1).is_some_and(|password| password.is_empty()))));
    let field = |line: &str, number| line.split(':').nth(number).unwrap_or_default().to_owned();
    Accounts {
        superusers,
        open,
        docker_gid: match &docker {
            Fact::Known(line) => {
                field(line, 1).parse().map_or_else(|_| Fact::unknown("/etc/group has no number for docker"), Fact::Known)
            }
            Fact::Absent => Fact::Absent,
            Fact::Unknown(why) => Fact::Unknown(why.clone()),
        },
        docker_members: docker.and_then(|line| {
            List::known(field(&line, 2).split(',').map(str::trim).filter(|name| !name.is_empty()).map(Text::cut))
        }),
    }
}

/// As the system reads a user id: `00` is one, too.
fn is_zero(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte == b'0')
}

fn names(text: &str, wanted: impl Fn(&[&str]) -> bool) -> Vec<Text> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let accounts = lines.map(|line| line.split(':').collect::<Vec<_>>());
    accounts.filter(|fields| wanted(fields)).filter_map(|fields| fields.first().map(|name| Text::cut(name))).collect()
}

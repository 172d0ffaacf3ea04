//! What is known of a host: observations without judgement, which can be sent, kept and judged elsewhere.
//!
//! Everything in them is bounded, for they may come from somebody else; and nothing in them is a secret: of command lines only the settings
//! that are named here, of files their owner and mode, of accounts their names.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};

use crate::Judgement;

mod control_plane;
mod kubelet;
mod runtime;

pub use control_plane::{ApiServer, AuditRule, Etcd};
pub use kubelet::{Kubelet, Setting};
pub use runtime::{Containerd, Docker, Registries, Registry, Runtime, ShownSocket};

/// The version of facts: one that is not known is not judged.
pub const FACTS_VERSION: u32 = 1;
/// Bytes of a text in facts, at most: what is longer is cut short when it is gathered.
pub const FACT_TEXT_BYTES_MAX: usize = 1_024;
/// Entries of a list in facts, at most: what has more is unknown.
pub const FACT_LIST_MAX: usize = 4_096;

/// Something about a host: known, known not to be there, or not to be found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fact<T> {
    /// It is this.
    Known(T),
    /// There is no such thing.
    Absent,
    /// It could not be found out, and why.
    Unknown(Text),
}

impl<T> Fact<T> {
    /// It could not be found out.
    pub fn unknown(why: impl AsRef<str>) -> Self {
        Self::Unknown(Text::cut(why.as_ref()))
    }

    /// What is known.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }

    /// What is made of what is known.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Fact<U> {
        self.and_then(|value| Fact::Known(make(value)))
    }

    /// The fact that is made of what is known.
    pub fn and_then<U>(self, make: impl FnOnce(T) -> Fact<U>) -> Fact<U> {
        match self {
            Self::Known(value) => make(value),
            Self::Absent => Fact::Absent,
            Self::Unknown(why) => Fact::Unknown(why),
        }
    }

    /// What a check makes of it: unknown stays unknown.
    pub fn judged(&self, absent: Judgement, known: impl FnOnce(&T) -> Judgement) -> Judgement {
        match self {
            Self::Known(value) => known(value),
            Self::Absent => absent,
            Self::Unknown(why) => Judgement::unknown(why.as_str()),
        }
    }
}

/// A text of at most [`FACT_TEXT_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text(String);

impl Text {
    /// The text, cut short where it is too long.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        match text.len() {
            0..=FACT_TEXT_BYTES_MAX => Self(text.to_owned()),
            _ => Self(format!(
                "{}…",
                text.get(..text.floor_char_boundary(FACT_TEXT_BYTES_MAX - '…'.len_utf8())).unwrap_or_default()
            )),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Text {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() > FACT_TEXT_BYTES_MAX { Err("a text is too long") } else { Ok(Self(text)) }
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

/// A list of at most [`FACT_LIST_MAX`] entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct List<T>(Vec<T>);

impl<T> List<T> {
    /// The list; unknown where there are too many.
    pub fn known(entries: impl IntoIterator<Item = T>) -> Fact<Self> {
        let mut entries = entries.into_iter();
        let list: Vec<T> = entries.by_ref().take(FACT_LIST_MAX).collect();
        match entries.next() {
            None => Fact::Known(Self(list)),
            Some(_) => Fact::unknown(format!("there are more than {FACT_LIST_MAX}")),
        }
    }

    /// Its first entries, as many as it can have.
    pub fn first(entries: impl IntoIterator<Item = T>) -> Self {
        Self(entries.into_iter().take(FACT_LIST_MAX).collect())
    }

    /// The entries.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {FACT_LIST_MAX}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    if list.len() == FACT_LIST_MAX {
                        return Err(A::Error::custom("a list is too long"));
                    }
                    list.push(entry);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_seq(Entries(PhantomData))
    }
}

/// Entries by name, at most [`FACT_LIST_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Table<T>(BTreeMap<Text, Fact<T>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Table<T> {
    /// Adds an entry; none where there are too many.
    pub fn add(&mut self, name: &str, fact: Fact<T>) {
        if self.0.len() < FACT_LIST_MAX {
            self.0.insert(Text::cut(name), fact);
        }
    }

    /// The entry of this name. What was not looked at is unknown.
    pub fn of(&self, name: &str) -> Fact<&T> {
        match self.0.get(&Text::cut(name)) {
            Some(Fact::Known(value)) => Fact::Known(value),
            Some(Fact::Absent) => Fact::Absent,
            Some(Fact::Unknown(why)) => Fact::Unknown(why.clone()),
            None => Fact::unknown(format!("{name} was not looked at")),
        }
    }

    /// The names and entries.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Fact<T>)> {
        self.0.iter().map(|(name, fact)| (name.as_str(), fact))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Table<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a map of at most {FACT_LIST_MAX}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut table = BTreeMap::new();
                while let Some((name, fact)) = map.next_entry()? {
                    if table.len() == FACT_LIST_MAX {
                        return Err(A::Error::custom("a map is too long"));
                    }
                    table.insert(name, fact);
                }
                Ok(Table(table))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// What is known of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFacts {
    /// [`FACTS_VERSION`].
    pub version: u32,
    /// Small files of the kernel and of the system, whole: by path.
    pub values: Table<Text>,
    /// Owner and mode of files that matter: by path.
    pub files: Table<File>,
    /// Names in folders that matter: by path.
    pub folders: Table<List<Text>>,
    /// What memory is swapped to.
    pub swaps: Fact<List<Swap>>,
    /// Mounts that matter.
    pub mounts: Fact<List<Mount>>,
    /// Where something listens for TCP.
    pub listeners: Fact<List<Listener>>,
    /// Who can log in, and how.
    pub accounts: Accounts,
    /// Container runtimes that run.
    pub runtimes: Fact<List<Runtime>>,
    /// How Docker is set up.
    pub docker: Fact<Docker>,
    /// How each containerd is set up.
    pub containerd: Fact<List<Containerd>>,
    /// Registries that images come from without proof.
    pub registries: Fact<Registries>,
    /// Sockets of runtimes that containers see.
    pub shown_sockets: Fact<List<ShownSocket>>,
    /// The kubelets that run.
    pub kubelets: Fact<List<Kubelet>>,
    /// The API servers of Kubernetes that run.
    pub api_servers: Fact<List<ApiServer>>,
    /// The etcds that run.
    pub etcds: Fact<List<Etcd>>,
}

/// A file's owner and mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What it is.
    pub kind: FileKind,
    /// The permission bits.
    pub mode: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A folder.
    Folder,
    /// A socket.
    Socket,
    /// Something else.
    Other,
}

/// What memory is swapped to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// The device, or file.
    pub name: Text,
    /// What it lies on.
    pub storage: Fact<Storage>,
}

/// What data lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// A device that the kernel encrypts.
    Encrypted,
    /// A device that is read only with its checksums.
    Verity,
    /// Memory.
    Memory,
    /// A device as it is.
    Plain,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Where.
    pub point: Text,
    /// The kind of file system.
    pub kind: Text,
    /// Options of the mount and of the file system, with commas.
    pub options: Text,
    /// What it lies on.
    pub storage: Fact<Storage>,
}

impl Mount {
    /// Whether it has this option.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.as_str().split(',').any(|has| has == option)
    }
}

/// Something that listens for TCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// At which address.
    pub address: std::net::IpAddr,
    /// At which port.
    pub port: u16,
}

/// Who can log in, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// The names of all with the user id 0.
    pub superusers: Fact<List<Text>>,
    /// The names of those who need no password.
    pub open: Fact<List<Text>>,
    /// The number of the group `docker`.
    pub docker_gid: Fact<u32>,
    /// The names of those in the group `docker`.
    pub docker_members: Fact<List<Text>>,
}

#[cfg(test)]
mod tests;

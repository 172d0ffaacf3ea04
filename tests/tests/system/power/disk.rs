//! A disk as a loss of power leaves it, made from a trace of everything that happened to it.
//!
//! A file or a folder has two states: what programs see, and what is durable. A sync of a file makes its bytes and size
//! durable, and not its name; a sync of a folder makes the names in it durable, and nothing below.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

/// What is written or lost as one.
const PAGE: usize = 4_096;
/// The kind of a record that is a note.
const NOTE: u64 = 9;

/// What the shim recorded of one call. The numbers are those of `shim.c`.
pub(crate) enum Record {
    Open {
        file: u64,
        path: PathBuf,
        cut: bool,
        folder: bool,
    },
    Write {
        file: u64,
        offset: usize,
        bytes: Vec<u8>,
    },
    Resize {
        file: u64,
        size: usize,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    Sync {
        file: u64,
        data_only: bool,
    },
    MakeFolder {
        path: PathBuf,
    },
    /// What somebody else knew at this place of the trace: an answer that had arrived.
    Note(String),
}

/// What is appended to a trace for a note.
pub(crate) fn note(text: &str) -> Vec<u8> {
    let numbers = [0, NOTE, 0, 0, text.len() as u64];
    numbers.iter().flat_map(|number| number.to_le_bytes()).chain(text.bytes()).collect()
}

/// Reads a trace; a last record that was cut off by a kill did not happen as far as anybody knows.
pub(crate) fn trace(file: &Path) -> Result<Vec<Record>> {
    let all = fs::read(file).with_context(|| file.display().to_string())?;
    let (mut rest, mut records) = (all.as_slice(), Vec::new());
    while let Some((head, behind)) = rest.split_first_chunk::<40>() {
        let number = |place: usize| {
            let bytes = head[place * 8..].first_chunk::<8>().expect("the head has five numbers");
            u64::from_le_bytes(*bytes)
        };
        let length = usize::try_from(number(4))?;
        let Some((payload, behind)) = behind.split_at_checked(length) else { break };
        let (file, size) = (number(2), usize::try_from(number(3))?);
        let text = || Ok::<_, anyhow::Error>(std::str::from_utf8(payload)?);
        let path = || Ok::<_, anyhow::Error>(PathBuf::from(text()?));
        let record = match number(1) {
            1 => Record::Open { file, path: path()?, cut: size & 1 != 0, folder: size & 2 != 0 },
            2 => Record::Write { file, offset: size, bytes: payload.to_vec() },
            3 => Record::Resize { file, size },
            4 => {
                let (from, to) = text()?.split_once('\0').context("a rename has two paths")?;
                Record::Rename { from: from.into(), to: to.into() }
            }
            5 => Record::Remove { path: path()? },
            kind @ (6 | 7) => Record::Sync { file, data_only: kind == 7 },
            8 => Record::MakeFolder { path: path()? },
            NOTE => Record::Note(text()?.to_owned()),
            other => bail!("the trace has a record of kind {other}"),
        };
        records.push(record);
        rest = behind;
    }
    Ok(records)
}

/// What survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// What was synced, and nothing else.
    Strict,
    /// Besides, each page written since by a coin, and of each folder's changes of names a beginning.
    Subset,
}

/// A random sequence that a seed repeats (SplitMix64).
pub(crate) struct Coins(pub(crate) u64);

impl Coins {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }
}

type Id = usize;

/// A change of the names in a folder.
#[derive(Clone)]
enum Naming {
    Link(String, Id),
    Unlink(String),
    Rename(String, String),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, Id>) {
        match self {
            Self::Link(name, id) => drop(names.insert(name.clone(), *id)),
            Self::Unlink(name) => drop(names.remove(name)),
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }
}

enum Node {
    File {
        live: Vec<u8>,
        durable: Vec<u8>,
        /// Pages written since the last sync.
        dirty: BTreeSet<usize>,
        /// The least size since the last sync, where it was made smaller.
        cut: Option<usize>,
    },
    Folder {
        live: BTreeMap<String, Id>,
        durable: BTreeMap<String, Id>,
        pending: Vec<Naming>,
    },
}

/// The disk: folders that are traced, as they go from call to call.
pub(crate) struct Disk {
    nodes: Vec<Node>,
    /// The nodes of the folders that are traced: these are there from the beginning.
    roots: Vec<(PathBuf, Id)>,
    inodes: HashMap<u64, Id>,
    /// For the test of the harness: takes `fdatasync` for a call that does nothing.
    pub(crate) without_datasync: bool,
}

impl Disk {
    /// A disk that holds what these folders hold now, all of it durable.
    pub(crate) fn of(roots: &[PathBuf]) -> Result<Self> {
        let mut disk = Self { nodes: Vec::new(), roots: Vec::new(), inodes: HashMap::new(), without_datasync: false };
        for root in roots {
            let id = disk.load(root)?;
            disk.roots.push((root.clone(), id));
        }
        Ok(disk)
    }

    /// Gives the folders that are traced their paths of the trace.
    pub(crate) fn rename_roots(&mut self, paths: &[PathBuf]) {
        for ((root, _), path) in self.roots.iter_mut().zip(paths) {
            root.clone_from(path);
        }
    }

    fn load(&mut self, path: &Path) -> Result<Id> {
        let node = if path.is_dir() {
            let mut names = BTreeMap::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let name = entry.file_name().into_string().map_err(|name| anyhow::anyhow!("a name: {name:?}"))?;
                names.insert(name, self.load(&entry.path())?);
            }
            Node::Folder { live: names.clone(), durable: names, pending: Vec::new() }
        } else {
            let bytes = fs::read(path)?;
            Node::File { live: bytes.clone(), durable: bytes, dirty: BTreeSet::new(), cut: None }
        };
        Ok(self.add(node))
    }

    fn add(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn find(&self, path: &Path) -> Option<Id> {
        let (root, id) = self.roots.iter().find(|(root, _)| path.starts_with(root))?;
        path.strip_prefix(root).ok()?.iter().try_fold(*id, |id, name| match self.nodes.get(id)? {
            Node::Folder { live, .. } => live.get(name.to_str()?).copied(),
            Node::File { .. } => None,
        })
    }

    fn name(&mut self, path: &Path, naming: impl Fn(String) -> Naming) -> Result<()> {
        let above = path.parent().and_then(|above| self.find(above)).with_context(|| format!("above {}", path.display()))?;
        let name = path.file_name().and_then(|name| name.to_str()).context("a name")?;
        let Node::Folder { live, pending, .. } = &mut self.nodes[above] else { bail!("{} is in a file", path.display()) };
        let naming = naming(name.to_owned());
        naming.apply(live);
        pending.push(naming);
        Ok(())
    }

    /// Does what the trace says.
    pub(crate) fn apply(&mut self, record: &Record) -> Result<()> {
        match record {
            Record::Open { file, path, cut, folder } => {
                let id = match self.find(path) {
                    Some(id) => id,
                    None => {
                        ensure!(!folder, "{} was not made", path.display());
                        let id = self.add(Node::File { live: vec![], durable: vec![], dirty: BTreeSet::new(), cut: None });
                        self.name(path, |name| Naming::Link(name, id))?;
                        id
                    }
                };
                self.inodes.insert(*file, id);
                if *cut {
                    self.resize(id, 0);
                }
            }
            Record::Write { file, offset, bytes } => {
                let id = self.inode(*file)?;
                let Node::File { live, dirty, .. } = &mut self.nodes[id] else { bail!("a folder is written") };
                let end = offset + bytes.len();
                let from = (*offset).min(live.len());
                live.resize(live.len().max(end), 0);
                live[*offset..end].copy_from_slice(bytes);
                dirty.extend(from / PAGE..end.div_ceil(PAGE));
            }
            Record::Resize { file, size } => {
                let id = self.inode(*file)?;
                self.resize(id, *size);
            }
            Record::Rename { from, to } => {
                ensure!(from.parent() == to.parent(), "a rename goes to another folder");
                let to = to.file_name().and_then(|name| name.to_str()).context("a name")?.to_owned();
                self.name(from, |name| Naming::Rename(name, to.clone()))?;
            }
            Record::Remove { path } => self.name(path, Naming::Unlink)?,
            Record::Sync { file, data_only } => {
                if !(*data_only && self.without_datasync) {
                    let id = self.inode(*file)?;
                    self.sync(id);
                }
            }
            Record::MakeFolder { path } => {
                let id = self.add(Node::Folder { live: BTreeMap::new(), durable: BTreeMap::new(), pending: Vec::new() });
                self.name(path, |name| Naming::Link(name, id))?;
            }
            Record::Note(_) => {}
        }
        Ok(())
    }

    fn inode(&self, file: u64) -> Result<Id> {
        self.inodes.get(&file).copied().with_context(|| format!("the file of inode {file} was not opened"))
    }

    fn resize(&mut self, id: Id, size: usize) {
        if let Node::File { live, dirty, cut, .. } = &mut self.nodes[id] {
            if size < live.len() {
                *cut = Some(cut.map_or(size, |cut| cut.min(size)));
                dirty.retain(|page| page * PAGE < size);
            } else {
                dirty.extend(live.len() / PAGE..size.div_ceil(PAGE));
            }
            live.resize(size, 0);
        }
    }

    fn sync(&mut self, id: Id) {
        match &mut self.nodes[id] {
            Node::File { live, durable, dirty, cut } => {
                durable.truncate(cut.take().unwrap_or(usize::MAX));
                durable.resize(live.len(), 0);
                for page in std::mem::take(dirty) {
                    let end = (page * PAGE + PAGE).min(live.len());
                    durable[page * PAGE..end].copy_from_slice(&live[page * PAGE..end]);
                }
            }
            Node::Folder { live, durable, pending } => {
                durable.clone_from(live);
                pending.clear();
            }
        }
    }

    /// Writes what is there after a loss of power now: each traced folder under its own name into `folder`.
    pub(crate) fn rebuild(&self, folder: &Path, mode: Mode, coins: &mut Coins) -> Result<()> {
        for (root, id) in &self.roots {
            self.write(*id, &folder.join(root.file_name().context("a root has a name")?), mode, coins)?;
        }
        Ok(())
    }

    fn write(&self, id: Id, path: &Path, mode: Mode, coins: &mut Coins) -> Result<()> {
        match &self.nodes[id] {
            Node::Folder { durable, pending, .. } => {
                fs::create_dir(path)?;
                let mut names = durable.clone();
                let survive = if mode == Mode::Subset { coins.below(pending.len() + 1) } else { 0 };
                pending.iter().take(survive).for_each(|naming| naming.apply(&mut names));
                for (name, id) in &names {
                    self.write(*id, &path.join(name), mode, coins)?;
                }
            }
            Node::File { live, durable, dirty, cut } => {
                let file = File::create(path)?;
                let mut size = durable.len();
                let cut = cut.filter(|_| mode == Mode::Subset && coins.below(2) == 0).unwrap_or(size).min(size);
                size = cut;
                sparse(&file, durable.get(..cut).unwrap_or_default())?;
                for page in dirty.iter().filter(|_| mode == Mode::Subset) {
                    if coins.below(2) == 0 {
                        let end = (page * PAGE + PAGE).min(live.len());
                        file.write_all_at(&live[page * PAGE..end], (page * PAGE) as u64)?;
                        size = size.max(end);
                    }
                }
                file.set_len(size as u64)?;
            }
        }
        Ok(())
    }
}

/// Writes bytes, and leaves holes where there are only zeros.
fn sparse(file: &File, bytes: &[u8]) -> Result<()> {
    const PART: usize = 64 << 10;
    for (number, part) in bytes.chunks(PART).enumerate() {
        if part.iter().any(|byte| *byte != 0) {
            file.write_all_at(part, (number * PART) as u64)?;
        }
    }
    Ok(())
}

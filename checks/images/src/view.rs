//! What of the layers can be seen in a container: later ones hide what earlier ones have (OCI image-spec, `layer.md`).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use crate::{
    entries::Entry,
    facts::{Facts, Remark, Secret},
    files,
    inventory::Inventory,
};

/// Files with something remarkable that are told, at most.
pub const REMARKABLE_FILES_MAX: usize = 100_000;
const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;

/// What can be seen so far.
#[derive(Debug, Default)]
pub(crate) struct View {
    remarks: BTreeMap<String, BTreeSet<Remark>>,
    /// Secrets that are in sight, by path: their numbers.
    secrets: BTreeMap<String, Vec<usize>>,
    shadow: Vec<String>,
    inventory: Inventory,
}

impl View {
    /// A secret is in this file.
    pub(crate) fn holds(&mut self, path: &str, secret: usize) {
        self.secrets.entry(path.to_owned()).or_default().push(secret);
    }

    /// Users without a password, as the last `/etc/shadow` has them.
    pub(crate) fn shadow(&mut self, users: Vec<String>) {
        self.shadow = users;
    }

    /// What packages can be seen.
    pub(crate) const fn inventory(&mut self) -> &mut Inventory {
        &mut self.inventory
    }

    /// A layer has something at this path: what was there is out of sight.
    pub(crate) fn add(&mut self, layer: usize, entry: &Entry<'_>, facts: &mut Facts) {
        // A folder that is there again keeps what is in it.
        if entry.kind.is_dir() {
            self.remarks.remove(&entry.path);
        } else {
            let linked = entry.same_as.as_ref().map(|path| self.inventory.at(path));
            self.hide(layer, &entry.path, false, &mut facts.secrets);
            linked.into_iter().for_each(|linked| self.inventory.put(&entry.path, linked));
        }
        let is_set_id = entry.kind.is_file() && entry.mode & SET_ID != 0;
        let is_open = match entry.kind.is_dir() {
            true => entry.mode & OTHERS_WRITE != 0 && entry.mode & STICKY == 0,
            false => entry.kind.is_file() && entry.mode & OTHERS_WRITE != 0,
        };
        let remarks: BTreeSet<Remark> = [
            is_set_id.then_some(Remark::SetId),
            entry.has_capabilities.then_some(Remark::Capabilities),
            is_open.then_some(Remark::WorldWritable),
            files::remark(&entry.path),
        ]
        .into_iter()
        .flatten()
        .collect();
        if remarks.is_empty() {
            return;
        }
        if self.remarks.len() < REMARKABLE_FILES_MAX {
            self.remarks.insert(entry.path.clone(), remarks);
        } else {
            facts.has_more_files = true;
        }
    }

    /// A layer hides a path and everything below it, or what is below it alone.
    pub(crate) fn hide(&mut self, layer: usize, path: &str, is_content_alone: bool, secrets: &mut [Secret]) {
        for number in taken(&mut self.secrets, path, is_content_alone).into_iter().flat_map(|(_, numbers)| numbers) {
            if let Some(secret) = secrets.get_mut(number) {
                secret.gone_in = Some(layer);
            }
        }
        drop(taken(&mut self.remarks, path, is_content_alone));
        self.inventory.hide(path, is_content_alone);
        if path == "etc" || path == "etc/shadow" {
            self.shadow.clear();
        }
    }

    pub(crate) fn into_facts(self, facts: &mut Facts) {
        facts.files = self.remarks;
        facts.users_without_password = self.shadow;
        self.inventory.into_facts(facts);
    }
}

/// Takes out what is at a path and below it.
pub(crate) fn taken<V>(map: &mut BTreeMap<String, V>, path: &str, is_content_alone: bool) -> Vec<(String, V)> {
    let mut out = Vec::new();
    if !is_content_alone {
        out.extend(map.remove_entry(path));
    }
    // `/` is before any character that a name can have and go on with; `0` is the one after it.
    let (begin, end) = if path.is_empty() { (String::new(), None) } else { (format!("{path}/"), Some(format!("{path}0"))) };
    let end = end.map_or(Bound::Unbounded, Bound::Excluded);
    let below: Vec<String> = map.range((Bound::Included(begin), end)).map(|(path, _)| path.clone()).collect();
    out.extend(below.into_iter().filter_map(|path| map.remove_entry(&path)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_path_is_taken_and_no_neighbour() {
        let mut map: BTreeMap<String, ()> =
            ["a", "a/b", "a/b/c", "a-b", "a.b", "ab", "b"].map(|path| (path.to_owned(), ())).into();
        let names = |taken: Vec<(String, ())>| taken.into_iter().map(|(path, ())| path).collect::<Vec<_>>();
        assert_eq!(names(taken(&mut map.clone(), "a", false)), ["a", "a/b", "a/b/c"]);
        assert_eq!(names(taken(&mut map.clone(), "a", true)), ["a/b", "a/b/c"]);
        assert_eq!(taken(&mut map, "", true).len(), 7);
    }

    #[test]
    fn remarkable_files_past_the_limit_are_counted_as_more() {
        let (mut view, mut facts) = (View::default(), Facts::default());
        for number in 0..=REMARKABLE_FILES_MAX {
            assert!(!facts.has_more_files, "{number}");
            let entry = Entry {
                path: number.to_string(),
                leads_out: false,
                kind: tar::EntryType::Regular,
                same_as: None,
                mode: 0o4755,
                has_capabilities: false,
                content: &mut std::io::empty(),
            };
            view.add(1, &entry, &mut facts);
        }
        assert!(facts.has_more_files);
        view.into_facts(&mut facts);
        assert_eq!(facts.files.len(), REMARKABLE_FILES_MAX);
    }
}

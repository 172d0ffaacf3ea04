//! What a store in a folder must survive: restarts, kills, a full disk, damage.

#[cfg(test)]
mod sled {
    mod crash;
    mod damage;
    mod folder;
    mod inspect;
    mod merges;
    mod open;
}

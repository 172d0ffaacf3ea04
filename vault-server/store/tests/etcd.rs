//! What is particular to etcd: shared servers, forgotten history, servers and networks that fail.
//!
//! The server is the one of `COFFER_TEST_ETCD`, as for the contract; what fails is a proxy in front of it.

#[cfg(test)]
mod etcd {
    mod faults;
    mod proxy;
    mod server;
}

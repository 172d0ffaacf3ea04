//! The kit for whole-system tests: starts the real programs as processes, and takes them away again.
//!
//! Nothing here is a stand-in: [`server::Server`] is the server's own program with its own configuration file,
//! [`issuer::Issuer`] signs service-account tokens as a cluster does, [`cluster::Cluster`] is a real Kubernetes. What a
//! value of this kit started ends when the value is dropped, also where a test fails. And whatever a test does:
//! [`leaks`] looks for the secrets that it handed out in all that the server leaves.
//!
//! The kit does not know the client: the demonstration, which uses it too, builds sooner without.

mod account;
pub mod cluster;
pub mod command;
pub mod issuer;
pub mod leaks;
pub mod mariadb;
pub mod memory;
pub mod port;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod redis;
pub mod server;
pub mod wait;

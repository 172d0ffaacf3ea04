//! The gRPC services: parse, authenticate, authorise, audit, call, answer.

//! The command line against a real control plane: what it prints and its exit codes.

//! Who may do what: Cedar policies and grants, an index of them, and explanations.

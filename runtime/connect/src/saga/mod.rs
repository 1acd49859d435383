//! Sagas: one outcome across several services.

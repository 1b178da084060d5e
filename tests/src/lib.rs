//! Support for the integration tests: servers, fixtures and the programs under test.

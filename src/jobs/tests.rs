//! Jobs from queue to end, with a library that stands in for the rest of the server.

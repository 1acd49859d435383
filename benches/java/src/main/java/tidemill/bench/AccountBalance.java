package tidemill.bench;

/** What is published: a balance together with the account it belongs to. */
record AccountBalance(String accountId, Balance balance) {}

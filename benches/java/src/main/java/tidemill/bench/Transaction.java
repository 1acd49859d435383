package tidemill.bench;

/**
 * One deposit or withdrawal.
 *
 * @param amount minor units (cents), not negative
 */
record Transaction(String id, String accountId, boolean deposit, long amount) {
    /** What the transaction adds to the balance, in minor units. */
    long change() {
        return deposit ? amount : -amount;
    }
}

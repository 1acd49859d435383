package tidemill.bench;

/**
 * State of one account in the store.
 *
 * @param balance minor units (cents)
 * @param transactions how many transactions made it
 */
record Balance(long balance, long transactions) {
    static final Balance EMPTY = new Balance(0, 0);

    /**
     * The balance after one more transaction, which changes it by so many minor units.
     *
     * @throws ArithmeticException if it does not fit in 64 bits
     */
    Balance apply(long change) {
        return new Balance(Math.addExact(balance, change), Math.addExact(transactions, 1L));
    }
}

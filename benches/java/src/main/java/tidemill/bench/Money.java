package tidemill.bench;

/** Decimal text with at most two fraction digits, and the integer minor units it stands for. */
final class Money {
    private Money() {}

    /**
     * Minor units of an unsigned decimal such as {@code 12}, {@code 12.3} or {@code 12.34}, read
     * in place from a parser's buffer.
     *
     * @throws NumberFormatException if the text has another form
     * @throws ArithmeticException if the amount does not fit in 64 bits
     */
    static long parse(char[] text, int start, int length) {
        int end = start + length;
        int at = start;
        long minor = 0;
        while (at < end && text[at] != '.') {
            minor = push(minor, text[at++]);
        }
        int fraction = end - at - 1;
        if (at == start || fraction == 0 || fraction > 2) {
            throw new NumberFormatException("not a decimal with at most two fraction digits");
        }
        for (int digit = 0; digit < 2; digit++) {
            minor = push(minor, digit < fraction ? text[at + 1 + digit] : '0');
        }
        return minor;
    }

    private static long push(long minor, char digit) {
        if (digit < '0' || digit > '9') {
            throw new NumberFormatException("not a digit in an amount");
        }
        return Math.addExact(Math.multiplyExact(minor, 10L), digit - '0');
    }

    /** The decimal text of an amount: always two fraction digits, {@code -} if negative. */
    static String format(long minor) {
        long units = Math.abs(minor / 100);
        long cents = Math.abs(minor % 100);
        StringBuilder text = new StringBuilder(24);
        if (minor < 0) {
            text.append('-');
        }
        return text.append(units).append(cents < 10 ? ".0" : ".").append(cents).toString();
    }
}

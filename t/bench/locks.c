/* locks: placeholder until written below. */
int main(void) { return 0; }

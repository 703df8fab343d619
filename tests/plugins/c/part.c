/* A dependency of brings.c: -DPART=beside defines this function; -DNEEDS=deep calls one of another library. */
int PART(void);

#ifdef NEEDS
int NEEDS(void);
int PART(void) { return NEEDS(); }
#else
int PART(void) { return 1; }
#endif

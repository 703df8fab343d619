/* What brings.c brings along: -DPART=beside is a library with that function, -DNEEDS=deep one that another has. */
int PART(void);

#ifdef NEEDS
int NEEDS(void);
int PART(void) { return NEEDS(); }
#else
int PART(void) { return 1; }
#endif

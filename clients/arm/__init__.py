"""A mobile arm to try an agent on, simulated by MuJoCo: real contacts, a camera, and nothing moves but by touch."""

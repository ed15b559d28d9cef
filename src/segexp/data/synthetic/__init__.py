"""Drawing of the generated pictures. No gray level tells the answer: what counts is shape, texture and place."""

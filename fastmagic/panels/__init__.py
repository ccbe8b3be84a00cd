"""What people look at and touch: one Python file, one .js and one .css a panel, on one base class over anywidget."""
